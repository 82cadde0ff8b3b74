"""The topology of the SQL database: what kind of server a connection leads to, and what the mirror needs there.

Detection costs a few small statements and is repeated once per minute and process, because a failover may lead a
connection to another server. They use the driver's own cursor: the application's query log should not show them.

Not detected: a proxy that sends only some tables or statements elsewhere, or that keeps a session on the server where
it has begun; replicas that the user may not list (on MySQL this takes REPLICATION SLAVE).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from sync.core.humanize import counted

logger = logging.getLogger(__name__)

BELIEVED = 60.0  # seconds before a process checks again
SPLIT_PROBES = 10  # reads that a proxy may send elsewhere
# Also reads a table, because a proxy may answer a bare variable itself, or send it to the writer.
IDENTITY = "SELECT CONCAT_WS(':', @@hostname, @@port, @@server_id), (SELECT MAX(id) FROM sync_change WHERE id = '')"

SINGLE, PRIMARY, READ_ONLY, GALERA, GROUP, PROXY, OTHER = (
    "single", "primary", "read_only", "galera", "group_replication", "proxy", "other",
)  # fmt: skip
NEEDS = {
    SINGLE: "",
    PRIMARY: "The application and all workers use the primary. The follower survives a failover by GTIDs.",
    READ_ONLY: "The mirror writes to this database: set DATABASE_URL to the primary.",
    GALERA: "Every read of rows first waits for the node. Always follow the binary log of the same node.",
    GROUP: "Every read of rows first waits for the member. Always follow the binary log of the same member.",
    PROXY: "The mirror would deliver old rows. Give it an address that leads to one server.",
    OTHER: "",
}


class Topology(NamedTuple):
    """kind: a key of NEEDS. title: what it is, in words. needs: what the mirror needs there; "" if nothing."""

    kind: str
    title: str

    @property
    def needs(self) -> str:
        return NEEDS[self.kind]

    def as_dict(self) -> dict[str, str]:
        return {"kind": self.kind, "title": self.title, "needs": self.needs}

    def __str__(self) -> str:
        return ". ".join(filter(None, [self.title, self.needs])).rstrip(".")


class _Known(NamedTuple):
    topology: Topology
    asked_at: float


_known: dict[tuple[Any, ...], _Known] = {}
_announced: dict[str, Topology] = {}


def server(connection: Any) -> tuple[Any, ...]:
    """Names the server of a connection, as its settings do."""
    return (connection.alias, *(connection.settings_dict[name] for name in ("HOST", "PORT")))


@contextmanager
def cursor(connection: Any) -> Iterator[Any]:
    """The driver's own cursor."""
    connection.ensure_connection()
    with connection.wrap_database_errors, connection.connection.cursor() as found:
        yield found


def topology(using: str) -> Topology:
    """The topology of this database. Inside a transaction a proxy is not noticed."""
    connection: Any = connections[using]
    place = server(connection)
    known = _known.get(place)
    if known is None or time.monotonic() - known.asked_at > BELIEVED:
        known = _known[place] = _Known(_find(connection), time.monotonic())
    return known.topology


def announce(using: str) -> None:
    """Logs the topology, once, and again when it has changed."""
    found = topology(using)
    if _announced.get(using) != found:
        logger.info("The database: %s.", found)
        _announced[using] = found


def require_one_server(using: str) -> None:
    """Raises ImproperlyConfigured if a proxy sends reads to another server than writes: they may be late."""
    connection: Any = connections[using]
    if connection.vendor == "mysql" and (found := _split(connection)):
        raise ImproperlyConfigured(f"The database {using!r} is reached through {found.title}. {found.needs}")


def cluster(connection: Any) -> str:
    """GALERA, GROUP, or "" if the server belongs to no cluster."""
    return _cluster(_variables(connection))


def _cluster(variables: Mapping[str, str]) -> str:
    if variables.get("wsrep_on") == "ON":
        return GALERA
    return GROUP if variables.get("group_replication_group_name") else ""


def _find(connection: Any) -> Topology:
    if connection.vendor != "mysql":
        return Topology(OTHER, str(connection.display_name))
    name = "MariaDB" if connection.mysql_is_mariadb else "MySQL"
    variables = _variables(connection)
    if variables.get("read_only") in ("ON", "1"):
        return Topology(READ_ONLY, f"a {name} server that is read-only, such as a replica")
    if split := _split(connection):
        return split
    if found := _cluster(variables):
        return Topology(found, f"a Galera cluster of {name}" if found == GALERA else "a MySQL replication group")
    if replicas := _replicas(connection):
        return Topology(PRIMARY, f"a {name} primary with {counted(replicas, 'replica', 'replicas')}")
    return Topology(SINGLE, f"one {name} server")


def _variables(connection: Any) -> dict[str, str]:
    with cursor(connection) as asked:
        asked.execute("SHOW VARIABLES WHERE Variable_name IN ('wsrep_on', 'group_replication_group_name', 'read_only')")
        return dict(asked.fetchall())


def _replicas(connection: Any) -> int:
    """How many replicas have registered; 0 if the user may not list them. A follower reads the log unregistered."""
    with suppress(Error), cursor(connection) as asked:
        if connection.mysql_is_mariadb:
            asked.execute("SHOW GLOBAL STATUS LIKE 'Slaves_connected'")
            return int(asked.fetchall()[0][1])
        asked.execute("SHOW REPLICAS")
        return len(asked.fetchall())
    return 0


def _split(connection: Any) -> Topology | None:
    """A proxy that sends reads to another server than writes; None if the probes find none."""
    if connection.in_atomic_block:
        return None
    with cursor(connection) as asked:

        def identity() -> str:
            asked.execute(IDENTITY)
            return str(asked.fetchall()[0][0])

        readers = {identity() for _ in range(SPLIT_PROBES)}
        asked.execute("SET autocommit = 0")
        try:
            asked.execute("UPDATE sync_change SET attempts = attempts WHERE id = ''")
            writer = identity()
        finally:
            asked.execute("ROLLBACK")
            asked.execute("SET autocommit = 1")
    if others := sorted(readers - {writer}):
        return Topology(PROXY, f"a proxy that sends reads to {', '.join(others)} and writes to {writer}")
    return None
