"""MongoDB: a process's clients, its servers' clocks, and the breaker that keeps a dead server from slowing saves."""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pymongo
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from django.conf import settings
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from sync import conf

if TYPE_CHECKING:
    from sync.registry import Target

CODEC_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
UNAUTHORIZED = 13
CLOCK_AGE = 60.0  # seconds after which the server's clock is asked for again


class Unavailable(Exception):
    """MongoDB cannot serve now: away, without a primary, or refusing us. Says why in one line."""


def uri(lane: str = "") -> str:
    """The address of MONGODB_URI, or that of an alias of SYNC_TARGETS."""
    return conf.TARGETS[lane] if lane else settings.MONGODB_URI


@functools.cache
def client(lane: str = "") -> pymongo.MongoClient[dict[str, Any]]:
    """This process's client, made at its first use. It connects by itself and comes back after failures."""
    return pymongo.MongoClient(
        uri(lane),
        appname="sync",
        connectTimeoutMS=2000,
        serverSelectionTimeoutMS=int(conf.TIMEOUT * 1000),
        socketTimeoutMS=int(conf.TIMEOUT * 1000),
    )


def database(lane: str = "") -> Database[dict[str, Any]]:
    """The database that `uri` names. Writes are acknowledged by the majority: no failover undoes them."""
    return client(lane).get_default_database(
        codec_options=CODEC_OPTIONS,
        write_concern=WriteConcern("majority"),
        read_preference=pymongo.ReadPreference.PRIMARY,
    )


@functools.cache
def collection(target: Target) -> Collection[dict[str, Any]]:
    """The collection that a target names."""
    return database(target.lane)[target.place]


def reason(error: PyMongoError) -> str:
    """Why MongoDB failed, in one line without topology dumps, and the same line as long as the cause is the same."""
    text = str(error)
    if "Authentication failed" in text:  # by itself, or as the cause why there is no connection
        return "MongoDB refuses the login: wrong user, password or authSource"
    if isinstance(error, OperationFailure) and error.code == UNAUTHORIZED:
        return "MongoDB: " + re.sub(r" command { *(\w+).*", r" \1", text, flags=re.DOTALL)
    if (error.timeout or isinstance(error, ConnectionFailure)) and not isinstance(error, OperationFailure):
        first = text.split(",")[0].split("(")[0].strip()
        return f"MongoDB does not answer: {first}"
    if isinstance(error, BulkWriteError):
        concern = (error.details or {}).get("writeConcernErrors") or [{}]
        return f"MongoDB has not confirmed a write: {concern[0].get('errmsg', error)}"
    return f"MongoDB: {text}".split(", full error")[0].splitlines()[0].rstrip(".")


class ServerClock:
    """A server's clock, followed by this process's monotonic one, which goes on while the process is frozen."""

    def __init__(self, lane: str) -> None:
        self.lane = lane
        self.asked_at = float("-inf")
        self.server_time = datetime.min

    def after(self, seconds: float) -> datetime:
        """The server's time `seconds` from now; early by a round trip at most, never late (unless it is set)."""
        now = time.monotonic()
        if now - self.asked_at > CLOCK_AGE:
            admin = client(self.lane).admin.with_options(codec_options=CODEC_OPTIONS)
            self.server_time = admin.command("hello")["localTime"]
            self.asked_at = time.monotonic()
            now = self.asked_at
        return self.server_time + timedelta(seconds=now - self.asked_at + seconds)

    def forget(self) -> None:
        """Asks again next time: another server may be primary now."""
        self.asked_at = float("-inf")


class Breaker:
    """Keeps inline delivery from waiting for a server that has just failed to answer.

    A failure opens it for SYNC_BREAKER_RESET seconds; after that one caller at a time is let through to try.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.next_try: float | None = None

    @property
    def state(self) -> str:
        return "closed" if self.next_try is None else "open"

    def allows(self) -> bool:
        """Whether to try now. While open, a yes is given once a reset time."""
        if self.next_try is None:
            return True
        with self.lock:
            now = time.monotonic()
            if self.next_try is not None and now < self.next_try:
                return False
            self.next_try = now + conf.BREAKER_RESET
            return True

    def succeeded(self) -> None:
        self.next_try = None

    def failed(self) -> None:
        self.next_try = time.monotonic() + conf.BREAKER_RESET


@functools.cache
def clock(lane: str = "") -> ServerClock:
    """The clock of that server, as this process knows it."""
    return ServerClock(lane)


BREAKER = Breaker()


def forget_clients() -> None:
    """The next use makes a new client: after a fork, which a client's sockets and threads do not survive."""
    for cached in (client, collection, clock):
        cached.cache_clear()


os.register_at_fork(after_in_child=forget_clients)
