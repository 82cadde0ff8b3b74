"""The addresses of `sync copy`: mongodb://user:password@host:port/database/collection?options"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import pymongo
from pymongo.errors import PyMongoError

from sync.core import conf
from sync.mongodb.client import file_problem

ADDRESS = re.compile(r"(?P<head>mongodb(?:\+srv)?://[^/?]+)(?:/(?P<path>[^?]*))?(?P<options>\?.*)?")
SOCKET_TIMEOUT = 60.0  # seconds without a response after which a server counts as unreachable
OURS = {"admin", "local", "config"}  # databases that belong to the server itself


class BadAddress(ValueError):
    """The message says what is wrong with it, without its password."""


@dataclass(frozen=True)
class Address:
    """A collection; with collection "" a database; with database "" too, a whole cluster.

    uri: for the driver, without the collection.
    """

    uri: str
    database: str
    collection: str

    @property
    def depth(self) -> int:
        return bool(self.database) + bool(self.collection)

    @property
    def hosts(self) -> str:
        """Without user and password: `a:27017,b:27017`."""
        return re.split(r"[/?]", self.uri.partition("//")[2])[0].rpartition("@")[2]

    def __str__(self) -> str:
        return re.sub(r"//[^@/]*@", "//", self.uri.partition("?")[0]) + (
            f"/{self.collection}" if self.collection else ""
        )

    def connect(self) -> pymongo.MongoClient[dict[str, Any]]:
        """A client that connects, and looks its servers up in DNS, at its first use. Raises BadAddress."""
        if problem := file_problem(self.uri):
            raise BadAddress(f"{self} cannot be used: {problem}")
        try:
            return pymongo.MongoClient(
                self.uri,
                appname="sync copy",
                connect=False,
                connectTimeoutMS=5000,
                serverSelectionTimeoutMS=int(conf.TIMEOUT * 1000),
                socketTimeoutMS=int(SOCKET_TIMEOUT * 1000),
            )
        except (PyMongoError, ValueError, TypeError) as error:
            raise BadAddress(f"{self} cannot be read: {error}") from error


def parse(text: str) -> Address:
    """Reads an address. Raises BadAddress."""
    match = ADDRESS.fullmatch(text)
    if match is None:
        hidden = re.sub(r"//[^@/]*@", "//", text)
        raise BadAddress(f"{hidden} is not a MongoDB address. Write mongodb://host:port/database/collection")
    # A database's name contains neither of these characters; a collection's may contain both.
    database, collection = map(unquote, re.findall(r"\A([^/.]*)[/.]?(.*)\Z", match["path"] or "", re.DOTALL)[0])
    if collection and not database:
        raise BadAddress("An address with a collection needs a database: mongodb://host:port/database/collection")
    address = Address(f"{match['head']}/{quote(database)}{match['options'] or ''}", database, collection)
    with address.connect() as client:
        try:
            if collection:
                client[database][collection]
            elif database:
                client[database]
        except (PyMongoError, ValueError, TypeError) as error:
            raise BadAddress(f"{address} cannot be read: {error}") from error
    return address
