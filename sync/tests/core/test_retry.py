"""A statement that the database ended in favor of another transaction is repeated."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.db import OperationalError

from sync.core.retry import TRIES, retry_on_deadlock

pytestmark = pytest.mark.quick


def busy(folder: Path) -> sqlite3.OperationalError:
    """The error of a transaction that wants to write after it has read, while another one has written."""
    mine, other = (sqlite3.connect(folder / "a", timeout=0, isolation_level=None) for _ in range(2))
    with closing(mine), closing(other):
        mine.execute("PRAGMA journal_mode = WAL")
        mine.execute("CREATE TABLE t (x)")
        mine.execute("BEGIN")
        mine.execute("SELECT * FROM t").fetchall()
        other.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.OperationalError) as error:
            mine.execute("INSERT INTO t VALUES (2)")
    return error.value


@pytest.mark.parametrize("database", ["mysql", "sqlite"])
def test_the_victim_of_a_deadlock_tries_again(database: str, tmp_path: Path) -> None:
    calls = []

    @retry_on_deadlock
    def act() -> str:
        calls.append(1)
        if len(calls) < TRIES:
            if database == "sqlite":
                raise OperationalError("database is locked") from busy(tmp_path / str(len(calls)))
            raise OperationalError(1213, "Deadlock found when trying to get lock")
        return "done"

    for number in range(TRIES):
        (tmp_path / str(number)).mkdir()
    assert act() == "done"


def test_other_errors_are_raised_at_once() -> None:
    calls = []

    @retry_on_deadlock
    def act() -> None:
        calls.append(1)
        raise OperationalError(2006, "Server has gone away")

    with pytest.raises(OperationalError):
        act()
    assert len(calls) == 1
