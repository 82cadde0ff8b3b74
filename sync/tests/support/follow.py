"""A follower of its own process for the tests, and raw SQL that no ORM sees."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from sync.binlog.position import LogState
from sync.outbox.models import Change
from sync.tests.support.checkpoints import state_of, write_state
from tests.servers import SERVERS

CODE = """
import django; django.setup()
from django.db import connections
connections['default'].settings_dict.update(NAME={name!r}, PORT={port!r})
from django.core.management import call_command
{call}
"""
FOLLOW = "call_command('sync', 'follow-binlog')"
RELAY = "from sync.outbox.relay import Relay; Relay(interval=0.02).run()"


def grant() -> None:
    """Gives the portal's user the rights of a follower; skips where nobody can."""
    if connection.vendor != "mysql":
        pytest.skip("only MySQL and MariaDB have a binary log")
    if SERVERS.mariadb is not None:
        SERVERS.mariadb.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
        return
    if not any("REPLICATION SLAVE" in grant for (grant,) in sql("SHOW GRANTS")):
        pytest.skip("the user of TEST_DATABASE may not read the binary log (GRANT REPLICATION SLAVE)")


def revoke() -> None:
    if SERVERS.mariadb is not None:
        SERVERS.mariadb.sql("REVOKE REPLICATION SLAVE, BINLOG MONITOR ON *.* FROM portal@'%'")


def sql(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """Runs a statement on a bare cursor."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return list(cursor.fetchall()) if cursor.description else []


class Process(subprocess.Popen[bytes]):
    """A process on the test database that runs `call`; what it says goes into a file."""

    def __init__(self, call: str = FOLLOW) -> None:
        at = connection.settings_dict
        code = CODE.format(name=str(at["NAME"]), port=at["PORT"], call=call)
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lasts as long as this object)
        super().__init__([sys.executable, "-c", code], cwd=settings.BASE_DIR, stdout=self.output, stderr=self.output)

    @property
    def said(self) -> str:
        self.output.seek(0)
        return self.output.read()

    def end(self) -> None:
        """With kill -9."""
        self.kill()
        self.wait()


@contextmanager
def following(*more: str) -> Iterator[Process]:
    """A follower, and with it processes that run `more`; begun, that is, with a position, when the block starts."""
    processes = [Process(), *map(Process, more)]
    try:
        until(lambda: saved() and not saved().unplanned, processes[0])
        yield processes[0]
    finally:
        for process in processes:
            process.end()
            print(process.said)


def saved() -> LogState | None:
    """The follower's checkpoint, as the table has it."""
    state = state_of("follow-binlog")
    return LogState.from_state(state) if state else None


def spoil(**wrong: Any) -> None:
    """Overwrites a part of it."""
    write_state("follow-binlog", **wrong)


def until(condition: Callable[[], Any], process: Process | None = None, seconds: float = 30) -> None:
    """Waits for `condition`; fails when it does not come, or `process` ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, f"it has ended: {process.said}"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def recorded(model: str = "finance.account") -> dict[str, int]:
    """How many changes there are of each key."""
    changes: dict[str, int] = {}
    for key in Change.objects.filter(model=model, until="").values_list("key", flat=True):
        changes[key] = changes.get(key, 0) + 1
    return changes


def add_accounts(count: int, first: int = 1) -> list[str]:
    """Inserts accounts with raw SQL, in one transaction; their keys."""
    keys = [f"{number:024x}" for number in range(first, first + count)]
    for begin in range(0, count, 1000):
        rows = ", ".join(f"('{key}', {int(key, 16)}, 0, '[]', '{{}}')" for key in keys[begin : begin + 1000])
        sql(f"INSERT INTO finance_account (_id, account_id, `limit`, products, extra) VALUES {rows}")
    return keys


def mark() -> str:
    """A row that is written now: what is recorded for it comes after everything written before."""
    key = f"{time.monotonic_ns():024x}"
    sql("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'mark')", key)
    return key


def catch_up(process: Process, seconds: float = 120) -> None:
    """Waits until the follower has recorded everything written so far."""
    key = mark()
    until(lambda: key in recorded("zoo.keeper"), process, seconds)
