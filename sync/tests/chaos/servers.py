"""The servers of a run: MariaDB (or a given MySQL), and replica sets of one and of three members.

Each slot's process connects to the databases through its own proxies, so that a fault can affect it alone. Connections
to the set of three members have no proxy: its faults affect the servers themselves.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import MySQLdb
import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from sync.tests.chaos.proxy import Proxies, Proxy
from tests.lab.network import Network
from tests.servers import SERVERS, Mongo, mongod

ELECTION = 700  # milliseconds without a primary before an election starts
MEMBERS = ("mongo0", "mongo1", "mongo2")  # the hosts of the members in a network
ELECTED_WITHIN = 120  # seconds; only a limit for a busy machine, not a guarantee


class MySQL:
    """The server with the rows, read with a plain driver connection."""

    def __init__(self) -> None:
        url = urlsplit(os.environ["DATABASE_URL"])
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 3306
        self.login: dict[str, Any] = {"user": unquote(url.username or ""), "password": unquote(url.password or "")}
        self.base = url.path.strip("/")
        self.server = SERVERS.mariadb
        self.connection: Any = None

    def name(self, servers: str) -> str:
        """The database for the schedules on these servers: two sets of relays must not share one table of changes."""
        return f"{self.base}_chaos_{os.getpid()}_{servers.split()[0]}"

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows. Reconnects if the server was down."""
        return [tuple(row.values()) for row in self.rows(statement, *values)]

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run one statement and return its rows as dictionaries by column name."""
        for attempt in (1, 2):
            try:
                if self.connection is None:
                    self.connection = MySQLdb.connect(
                        host=self.host, port=self.port, charset="utf8mb4", autocommit=True, read_timeout=20,
                        **self.login,
                    )  # fmt: skip
                with self.connection.cursor() as cursor:
                    cursor.execute(statement, values)
                    names = [column[0] for column in cursor.description or ()]
                    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            except MySQLdb.OperationalError:
                self.connection = None
                if attempt == 2:
                    raise
        raise AssertionError

    def let_follow(self) -> None:
        """Let followers read the log. A server that the run did not start must have granted it."""
        if self.server is not None:
            self.server.sql(f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {self.login['user']}@'%'")

    def delete_unlogged(self, table: str, keys: list[str] | None = None) -> None:
        """Delete these rows, or all, so that followers need not deliver it, if the run has started the server."""
        statement = f"DELETE FROM {table}"
        if keys is not None:
            statement += f" WHERE _id IN ({', '.join(repr(key) for key in keys)})"
        if self.server is not None:
            self.server.sql(f"SET SESSION sql_log_bin = 0; {statement}")
        else:
            self.sql(statement)

    def kill(self) -> None:
        if self.server is not None:  # a server that the run did not start stays up
            self.server.kill()
            self.server.start()


class OneMember:
    """The tests' mongod, with one proxy per slot."""

    def __init__(self, proxies: Proxies) -> None:
        self.proxies = proxies
        self.mongod = SERVERS.mongo
        self.slots: dict[str, Proxy] = {}

    def proxy(self, slot: str) -> Proxy:
        if slot not in self.slots:
            self.slots[slot] = self.proxies.start(self.mongod.port)
        return self.slots[slot]

    def uri(self, slot: str, database: str) -> str:
        return f"mongodb://127.0.0.1:{self.proxy(slot).port}/{database}?directConnection=true"

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.mongod.uri(""), tz_aware=True, w="majority")

    def heal(self) -> None:
        for proxy in self.slots.values():
            proxy.heal()
        self.mongod.thaw()

    def kill(self) -> None:
        self.mongod.kill()
        self.mongod.start()

    def stop(self) -> None:
        """Nothing to do: the server stops with the run."""


ALREADY_INITIALIZED = 23


class ThreeMembers:
    """A replica set whose primary is made to fail."""

    def __init__(self, election: int, network: Network | None = None) -> None:
        """election: the time-out in milliseconds. On a busy machine, elections with a short time-out may never end.

        network: one with hosts for the members; by default they are on this one.
        """
        self.members = [Mongo(SERVERS.place("member")) for _ in range(3)]
        for member, host in zip(self.members, MEMBERS, strict=True):
            if network:
                member.host, member.prefix = network.addresses[host], network.prefix(host)
            self._start(member)
        with self._direct(self.members[0]) as first:
            hosts = [{"_id": number, "host": each} for number, each in enumerate(self._hosts())]
            settings = {"electionTimeoutMillis": election, "heartbeatIntervalMillis": election // 5}
            configuration = {"_id": mongod.REPLICA_SET, "members": hosts, "settings": settings}
            try:
                first.admin.command("replSetInitiate", configuration)
            except OperationFailure as error:
                if error.code != ALREADY_INITIALIZED:  # the driver retried it after a time-out
                    raise
        self.heal()

    @staticmethod
    def _start(member: Mongo) -> None:
        options = ("--setParameter", "enableTestCommands=1")
        member.process = mongod.start(member.folder, member.port, *options, prefix=member.prefix, host=member.host)

    @staticmethod
    def _direct(member: Mongo) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(
            member.host, member.port, directConnection=True, serverSelectionTimeoutMS=5000, socketTimeoutMS=5000
        )

    def uri(self, slot: str, database: str) -> str:
        return f"mongodb://{','.join(self._hosts())}/{database}?replicaSet={mongod.REPLICA_SET}"

    def _hosts(self) -> list[str]:
        return [f"{member.host}:{member.port}" for member in self.members]

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.uri("", ""), tz_aware=True, w="majority")

    def primary(self) -> Mongo:
        """Return the primary. Raises RuntimeError if there is none."""
        for member in self.members:
            with suppress(PyMongoError), self._direct(member) as client:
                if client.admin.command("hello")["isWritablePrimary"]:
                    return member
        raise RuntimeError("the set has no primary")

    def fail(self, kind: str, seconds: float) -> None:
        """Make the primary fail in this way, and wait until a primary is available again."""
        primary = self.primary()
        others = [member for member in self.members if member is not primary]
        match kind:
            case "step down":
                with suppress(PyMongoError), self._direct(primary) as client:
                    client.admin.command("replSetStepDown", 2, force=True)
            case "kill primary":
                primary.kill()
            case "freeze primary":
                primary.freeze()
                time.sleep(1.5)  # until the others elect another one
            case "cut off primary":
                # For a while, it accepts writes that no other member receives. (Freezing the others would not work: the
                # writes would wait in their sockets.)
                self._stop_replication(others, "alwaysOn")
                time.sleep(seconds)
                primary.kill()
                self._stop_replication(others, "off")
        for member in self.members:
            member.thaw()
        with self.client() as client:
            client.admin.command("ping")  # only a primary responds: the others have elected one
        self.heal()

    def _stop_replication(self, members: list[Mongo], mode: str) -> None:
        for member in members:
            with self._direct(member) as client:
                client.admin.command("configureFailPoint", "stopReplProducer", mode=mode)

    def heal(self) -> None:
        """Restart and thaw all members, and wait for one primary and two secondaries."""
        for member in self.members:
            if member.process.poll() is not None:
                self._start(member)
            member.thaw()
        end = time.monotonic() + ELECTED_WITHIN
        while (states := self._states()) != ["PRIMARY", "SECONDARY", "SECONDARY"]:
            if time.monotonic() > end:
                raise RuntimeError(f"the set of three members does not recover: {states}")
            time.sleep(0.05)

    def _states(self) -> list[str]:
        """The states of all members as the primary reports them, sorted; [] without a primary."""
        with suppress(PyMongoError, RuntimeError), self._direct(self.primary()) as client:
            members = client.admin.command("replSetGetStatus")["members"]
            return sorted(member["stateStr"] for member in members)
        return []

    def stop(self) -> None:
        for member in self.members:
            member.stop()
