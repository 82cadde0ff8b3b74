"""A process's MongoDB clients, its servers' clocks, and the circuit breakers that keep a dead server from slowing
saves.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pymongo
from pymongo import _csot, pool_shared
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from sync.core import conf
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mongodb.errors import NO_DNS, NOT_YET, NoClient, cause_of, without_secrets
from sync.mongodb.errors import Unavailable as Unavailable
from sync.mongodb.errors import reason as reason

if TYPE_CHECKING:
    from sync.mapping.registry import Target

CLOCK_AGE = 60.0  # seconds after which the server's clock is read again
RETRY = 1.0  # seconds between two attempts to create a client

TLS_FILES = {
    "tlsCAFile": "certificates of CAs in PEM",
    "tlsCRLFile": "a revocation list in PEM",
    "tlsCertificateKeyFile": "a certificate and its private key in PEM",
}


def uri(alias: str = "") -> str:
    """The address of MONGODB_URI, or that of an alias of SYNC_TARGETS."""
    return conf.TARGETS[alias] if alias else conf.mongodb_uri()


def addresses() -> dict[str, str]:
    """Every address in the settings, by alias."""
    return {"": conf.mongodb_uri()} | conf.TARGETS


def setting(alias: str) -> str:
    """The setting that has an alias's address."""
    return f"SYNC_TARGETS[{alias!r}]" if alias else "MONGODB_URI"


@dataclass
class Made:
    """A client, its collections, and the state of the files it has read."""

    client: pymongo.MongoClient[dict[str, Any]]
    files: dict[str, Any]
    collections: dict[Target, Collection[dict[str, Any]]] = field(default_factory=dict)


class Connector:
    """This process's client of one server: created at its first use, and again until that succeeds.

    Creating it takes unbounded time, because a mongodb+srv:// address is looked up and DNS may not respond. So a thread
    does it, and callers wait no longer than their `pymongo.timeout`. The driver reads certificates once; when their
    files change, another client is created.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.lock = threading.Lock()
        self.made: Made | None = None
        self.thread: threading.Thread | None = None
        self.next_try = float("-inf")
        self.problem = ""  # of the last attempt

    def get(self) -> Made:
        """Raises NoClient."""
        made = self.made
        if made is None or made.files != _states(made.files):
            self._make()
            made = self.made
        if made is None:
            is_looked_up = uri(self.alias).startswith("mongodb+srv:")  # while the first attempt is running
            raise NoClient(self.problem or (NO_DNS if is_looked_up else NOT_YET))
        return made

    def _make(self) -> None:
        with self.lock:
            if self.thread is None or not self.thread.is_alive():
                if time.monotonic() < self.next_try:
                    return
                self.next_try = time.monotonic() + RETRY
                self.thread = threading.Thread(target=self._connect, name="connect to MongoDB", daemon=True)
                self.thread.start()
            thread = self.thread
        thread.join(max(_csot.clamp_remaining(conf.TIMEOUT), 0.0))

    def _connect(self) -> None:
        try:
            address = uri(self.alias)
            files = _states(tls_files(address).values())
            timeout = int(conf.TIMEOUT * 1000)
            client = connect(
                address,
                setting(self.alias),
                appname="sync",
                connectTimeoutMS=2000,
                serverSelectionTimeoutMS=timeout,
                socketTimeoutMS=timeout,
            )
        except PyMongoError as error:
            self.problem = reason(error)  # a client with the previous certificates stays in use
        else:
            self.made = Made(client, files)


def connect(address: str, name: str, **options: Any) -> pymongo.MongoClient[dict[str, Any]]:
    """A client, which looks up a mongodb+srv:// address at once and connects in the background. Raises NoClient.

    name: of the address, for messages.
    """
    if problem := file_problem(address):
        raise NoClient(f"MongoDB cannot be reached: in {name}, {problem}")
    try:
        return pymongo.MongoClient(address, **options)
    except (PyMongoError, OSError, ValueError, TypeError) as error:
        raise NoClient(
            cause_of(str(error)) or f"MongoDB cannot be reached: {name} cannot be used ({without_secrets(str(error))})"
        ) from error


def tls_files(address: str) -> dict[str, str]:
    """The certificate files that an address names, by option."""
    options = {name.lower(): value for name, value in parse_qsl(address.partition("?")[2])}
    return {name: options[name.lower()] for name in TLS_FILES if name.lower() in options}


def without_files(address: str) -> str:
    """The same address, without the options that name files."""
    start, mark, options = address.partition("?")
    names = {name.lower() for name in TLS_FILES}
    kept = [option for option in options.split("&") if option.partition("=")[0].lower() not in names]
    return start + mark + "&".join(kept)


def file_problem(address: str) -> str:
    """Which of the certificate files in an address cannot be used, and why; empty if all can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for option, path in tls_files(address).items():
        try:
            with open(path, "rb"):
                pass
            if option == "tlsCertificateKeyFile":
                password = dict(parse_qsl(address.partition("?")[2])).get("tlsCertificateKeyFilePassword", "")
                context.load_cert_chain(path, password=password)  # without one, OpenSSL would ask the terminal
            else:
                context.load_verify_locations(path)
        except ssl.SSLError:
            return f"the file {path} ({option}) does not hold {TLS_FILES[option]}"
        except (OSError, ValueError) as error:
            return (
                f"the file {path} ({option}) cannot be read: {error.strerror if isinstance(error, OSError) else error}"
            )
    return ""


def _states(paths: Iterable[str]) -> dict[str, Any]:
    """What changes when a file is written again; None for a missing file."""
    states: dict[str, Any] = {}
    for path in paths:
        try:
            stat = os.stat(path)
        except (OSError, ValueError):
            states[path] = None
        else:
            states[path] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
    return states


@functools.cache
def connector(alias: str = "") -> Connector:
    """This process's connector to that server."""
    return Connector(alias)


def client(alias: str = "") -> pymongo.MongoClient[dict[str, Any]]:
    """This process's client. It connects and reconnects on its own. Raises NoClient, in bounded time."""
    return connector(alias).get().client


def database(alias: str = "") -> Database[dict[str, Any]]:
    """The database of `uri`. Writes are acknowledged by the majority: no failover undoes them.

    Raises NoClient, in bounded time.
    """
    return _database(client(alias))


def _database(client: pymongo.MongoClient[dict[str, Any]]) -> Database[dict[str, Any]]:
    return client.get_default_database(
        codec_options=CODEC_OPTIONS,
        write_concern=WriteConcern("majority"),
        read_preference=pymongo.ReadPreference.PRIMARY,
    )


def collection(target: Target) -> Collection[dict[str, Any]]:
    """The collection that a target names. Raises NoClient, in bounded time."""
    made = connector(target.queue).get()
    if target not in made.collections:
        made.collections[target] = _database(made.client)[target.collection]
    return made.collections[target]


class ServerClock:
    """A server's clock, extrapolated with the monotonic clock, which continues while the process is frozen."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.asked_at = float("-inf")
        self.server_time = datetime.min

    def after(self, seconds: float) -> datetime:
        """The server's time `seconds` from now; early by a round trip at most, never late (unless the clock is set)."""
        now = time.monotonic()
        if now - self.asked_at > CLOCK_AGE:
            admin = client(self.alias).admin.with_options(codec_options=CODEC_OPTIONS)
            self.server_time = admin.command("hello")["localTime"]
            self.asked_at = time.monotonic()
            now = self.asked_at
        return self.server_time + timedelta(seconds=now - self.asked_at + seconds)

    def forget(self) -> None:
        """Reads the clock again next time: another server may be primary now."""
        self.asked_at = float("-inf")


@functools.cache
def clock(alias: str = "") -> ServerClock:
    """The clock of that server, as this process knows it."""
    return ServerClock(alias)


class BoundedLookups:
    """The `socket` module for the driver's pools, in which a host name lookup ends with `pymongo.timeout`.

    Everything else in the driver respects the timeout. The resolver continues for half a minute while DNS does not
    respond, and a growing pool calls it in the thread that saves.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        seconds = _csot.remaining()
        if seconds is None:
            return socket.getaddrinfo(*args, **kwargs)
        found: Future[Any] = Future()

        def look_up() -> None:
            try:
                found.set_result(socket.getaddrinfo(*args, **kwargs))
            except Exception as error:
                found.set_exception(error)

        threading.Thread(target=look_up, name="look up a host", daemon=True).start()
        try:
            return found.result(timeout=max(seconds, 0.0))
        except TimeoutError as error:
            raise TimeoutError("the host name lookup timed out") from error


pool_shared.socket = BoundedLookups()  # type: ignore[assignment]  # in place of the module


def forget_clients() -> None:
    """The next use creates a new client: after a fork, which a client's sockets and threads do not survive."""
    for cached in (connector, clock):
        cached.cache_clear()


os.register_at_fork(after_in_child=forget_clients)
