"""Causal reads: on a cluster, a row is read only after its node has applied what the cluster committed before.

In a Galera cluster or a replication group every node accepts writes, and a node applies the others' writes with a
delay. A delivery that saw the newest document and then read an old row on such a node would write the old row over it,
and no change would be left to correct it. So before rows are read, the node is asked to catch up: one round trip, after
which READ COMMITTED shows at least everything that was committed anywhere when the node was asked.

Related rows that an application's `to_document` follows are read on the same connection, see `pinned`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

from django.db import OperationalError, connections, router

from sync.core import conf, topology

NOT_IN_TIME = {1205, 3797}  # errors of a node that has not caught up: Galera's (a lock wait timeout) and a group's

# Reads a table: a replication group delays no statement without one.
READ = "SELECT 1 FROM sync_change LIMIT 1"
WAIT_GALERA = (f"SET STATEMENT wsrep_sync_wait = 1 FOR {READ}",)
WAIT_PERCONA = (  # Percona's cluster and MySQL's Galera have no SET STATEMENT
    "SET @sync_before = @@SESSION.wsrep_sync_wait, SESSION wsrep_sync_wait = 1",
    READ,
    "SET SESSION wsrep_sync_wait = @sync_before",
)
WAIT_GROUP = (  # the group waits for as long as an idle session may last
    "SET @sync_before = @@SESSION.group_replication_consistency, @sync_timeout = @@SESSION.wait_timeout,"
    " SESSION group_replication_consistency = 'BEFORE', SESSION wait_timeout = {timeout}",
    READ,
    "SET SESSION group_replication_consistency = @sync_before, SESSION wait_timeout = @sync_timeout",
)


class _Known(NamedTuple):
    statements: tuple[str, ...]  # the statements that make this server catch up; none if it belongs to no cluster
    asked_at: float


_known: dict[tuple[Any, ...], _Known] = {}


def wait(using: str) -> None:
    """Returns when this connection's server shows everything that its cluster committed before; at once without a
    cluster.

    Does nothing inside a transaction, where a node no longer waits: call it before. Raises OperationalError if the node
    does not catch up in time.
    """
    connection: Any = connections[using]
    if connection.vendor != "mysql" or connection.in_atomic_block:
        return
    if not (statements := _statements(connection)):
        return
    before, read, after = statements if len(statements) == 3 else ("", *statements, "")
    try:
        with topology.cursor(connection) as cursor:
            if before:
                cursor.execute(before)
            try:
                cursor.execute(read)
                cursor.fetchall()
            finally:
                if after:
                    cursor.execute(after)
    except OperationalError as error:
        if error.args[0] not in NOT_IN_TIME:
            raise
        raise OperationalError(
            error.args[0],
            "This database node has not caught up with its cluster in time, so its rows may be old. Check why it lags. "
            "The limit is Galera's repl.causal_read_timeout, or SYNC_TIMEOUT in a replication group.",
        ) from error


def _statements(connection: Any) -> tuple[str, ...]:
    server = topology.server(connection)
    known = _known.get(server)
    if known is None or time.monotonic() - known.asked_at > topology.BELIEVED:
        known = _known[server] = _Known(_waits(connection), time.monotonic())
    return known.statements


def _waits(connection: Any) -> tuple[str, ...]:
    kind = topology.cluster(connection)
    if kind == topology.GALERA:
        return WAIT_GALERA if connection.mysql_is_mariadb else WAIT_PERCONA
    if kind == topology.GROUP:
        first, *rest = WAIT_GROUP
        return first.format(timeout=max(1, int(conf.TIMEOUT))), *rest
    return ()


# --- related rows -----------------------------------------------------------------------------------------------------

_alias: ContextVar[str | None] = ContextVar("sync_alias", default=None)


class _Pin:
    """The first database router: inside `pinned`, reads go to its database if the model's table is there."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        alias = _alias.get()
        return alias if alias and router.allow_migrate_model(alias, model) else None


_PIN = _Pin()


def pinned(using: str) -> AbstractContextManager[None]:
    """Inside this block reads ask no router for a replica: relations of a row are read where the row was read.

    Only a query that names another database with `using()` still reads there.
    """
    return _pinned(using) if router.routers else _FREE


_FREE = nullcontext()


@contextmanager
def _pinned(using: str) -> Iterator[None]:
    if not router.routers or router.routers[0] is not _PIN:
        router.routers.insert(0, _PIN)
    before = _alias.set(using)
    try:
        yield
    finally:
        _alias.reset(before)
