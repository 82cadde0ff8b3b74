"""Starts followers of the binary log, and writes with raw SQL that bypasses the ORM."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pymongo
import pytest
from bson import ObjectId
from django.db import connection

from sync.binlog.position import LogState
from sync.mapping.registry import all_targets
from sync.outbox.actions import set_paused
from sync.outbox.models import Change
from sync.tests.support.checkpoints import state_of, write_state
from sync.tests.support.processes import Process, manage, relaying
from tests.servers import SERVERS


def grant() -> None:
    """Grant the portal's user the privileges of a follower. Skips the test if that is not possible."""
    if connection.vendor != "mysql":
        pytest.skip("only MySQL and MariaDB have a binary log")
    if SERVERS.mariadb is not None:
        SERVERS.mariadb.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
        return
    if not any("REPLICATION SLAVE" in grant for (grant,) in sql("SHOW GRANTS")):
        pytest.skip("the user of TEST_DATABASE may not read the binary log (GRANT REPLICATION SLAVE)")


def revoke() -> None:
    """Revoke the privileges, and close the connection, which would keep those that it was opened with."""
    if SERVERS.mariadb is not None:
        SERVERS.mariadb.sql("REVOKE REPLICATION SLAVE, BINLOG MONITOR ON *.* FROM portal@'%'")
        connection.close()


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """Run a statement. Returns its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def follower() -> Process:
    return manage("sync", "follow-binlog")


def pause_targets(*, paused: bool = True) -> None:
    """Pause all targets, so that the follower records a change for each key and delivers none; or resume them."""
    set_paused([target.label for target in all_targets()], paused=paused)


@contextmanager
def following(*, and_relaying: bool = False, recording: bool = False) -> Iterator[Process]:
    """Run a follower until it has a checkpoint, optionally with a relay. Yields the follower's process.

    recording: with all targets paused.
    """
    with ExitStack() as stack:
        if recording:
            pause_targets()
        process = stack.enter_context(follower())
        if and_relaying:
            stack.enter_context(relaying())
        process.until(lambda: saved() and not saved().unplanned, "it has started")
        yield process


def saved() -> LogState | None:
    """Return the follower's saved checkpoint; None if there is none."""
    state = state_of("follow-binlog")
    return LogState.from_state(state) if state else None


def spoil(**wrong: Any) -> None:
    """Overwrite keys of the follower's checkpoint."""
    write_state("follow-binlog", **wrong)


def recorded(model: str = "finance.account") -> dict[str, int]:
    """Return the number of changes of each key."""
    changes: dict[str, int] = {}
    for key in Change.objects.filter(model=model, until="").values_list("key", flat=True):
        changes[key] = changes.get(key, 0) + 1
    return changes


def add_accounts(count: int, first: int = 1) -> list[str]:
    """Insert accounts with raw SQL, in one transaction. Returns their keys."""
    keys = [f"{number:024x}" for number in range(first, first + count)]
    for begin in range(0, count, 1000):
        rows = ", ".join(f"('{key}', {int(key, 16)}, 0, '[]', '{{}}')" for key in keys[begin : begin + 1000])
        sql(f"INSERT INTO finance_account (_id, account_id, `limit`, products, extra) VALUES {rows}")
    return keys


def mark() -> str:
    """Insert a row and return its key. It is delivered or recorded after all earlier writes."""
    key = f"{time.monotonic_ns():024x}"
    sql("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'mark')", key)
    return key


def catch_up(process: Process, seconds: float = 120) -> None:
    """Wait until the follower has delivered or recorded all writes so far."""
    key = mark()
    process.until(lambda: key in recorded("zoo.keeper") or _is_delivered(key), "it has caught up", seconds)


def _is_delivered(key: str) -> bool:
    with pymongo.MongoClient(SERVERS.mongo.uri("analytics_test")) as client:
        return client.get_default_database()["zoo_keepers"].count_documents({"_id": ObjectId(key)}) == 1
