"""--processes N: further processes compare the ranges of keys, and everything is reported as by one process."""

from __future__ import annotations

import functools
import io
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from bson import Binary, ObjectId
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.mongodb.errors import Unavailable
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.support.processes import database_url, finished, manage
from sync.tests.zoo.models import Typed
from sync.verification import scan, shared
from sync.verification.models import Verification
from sync.verification.shared import SharedRun
from sync.verification.verify import verify
from sync.workers.processes import pool
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ROWS = 100


@pytest.fixture(autouse=True)
def _small_ranges(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url())
    monkeypatch.setattr(scan, "RANGE", 15)
    monkeypatch.setattr(scan, "CHUNK", 10)


@pytest.fixture
def two(_small_ranges: None) -> Iterator[Any]:
    """A run by two processes."""
    with pool(2) as made:
        yield functools.partial(SharedRun, pool=made, processes=2)


@pytest.fixture
def accounts() -> list[str]:
    """The keys of rows in sync, in their order."""
    Account.objects.bulk_create([make(number) for number in range(ROWS)])
    confirm()
    return sorted(Account.objects.values_list("pk", flat=True))


def spoil(accounts: list[str], mongo: Database) -> set[str]:
    """Make a mismatch of each kind, at the ends of ranges too. Returns their keys."""
    missing = [accounts[number] for number in (0, 14, 15, 16, 44, 99)]
    mongo.accounts.delete_many({"_id": {"$in": [ObjectId(key) for key in missing]}})
    mongo.accounts.update_one({"_id": ObjectId(accounts[50])}, {"$set": {"limit": -1}})
    extra = ["0" * 24, "f" * 24, accounts[29][:8] + "f" * 16]
    mongo.accounts.insert_many([{"_id": ObjectId(key)} for key in extra] + [{"_id": "by hand"}, {"_id": {"a": 1}}])
    return {*missing, *extra, accounts[50]}


def kill_itself(*args: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def found(run: Verification) -> list[tuple[str, str, list[Any]]]:
    return [(mismatch.key, mismatch.kind, mismatch.fields) for mismatch in run.mismatches]


def test_the_result_is_that_of_one_process(accounts: list[str], mongo: Database, two: Any) -> None:
    keys, steps = spoil(accounts, mongo), []
    alone = verify(Target(Account))
    together = verify(Target(Account), progress=steps.append, kind=two)
    assert found(together) == found(alone)
    assert {key for key, _, _ in found(together)} > keys
    assert (together.compared, together.found, together.pending) == (ROWS, len(keys) + 2, 0)
    assert together.mode == "full"
    assert together.finished_at
    assert sum(steps) >= ROWS
    assert len(steps) > 5, "one for each range"


def test_keys_that_the_databases_order_differently(mongo: Database, two: Any) -> None:
    Typed.objects.bulk_create([Typed(id=uuid.uuid4()) for _ in range(40)])
    confirm()
    keys = sorted(map(str, Typed.objects.values_list("pk", flat=True)))
    documents = mongo[Typed.mirror.collection]
    gone = [document["_id"] for document in documents.find().limit(3)]
    documents.delete_many({"_id": {"$in": gone}})
    documents.insert_one({"_id": Binary.from_uuid(uuid.uuid4())})
    documents.insert_one({"_id": {"by": "hand"}})
    alone = verify(Target(Typed))
    together = verify(Target(Typed), kind=two)
    assert found(together) == found(alone)
    assert (together.compared, together.found) == (len(keys), 5)


def test_a_repair_by_processes_leaves_nothing_to_another_run(accounts: list[str], mongo: Database) -> None:
    spoil(accounts, mongo)
    process = finished(manage("sync", "verify", "account", "--repair", "--prune", "--strict", "--processes", "2"))
    *lines, last = process.stdout.splitlines()
    assert process.status == 0
    assert last == f"finance.account: {ROWS} rows compared, 0 mismatches, 0 pending, 12 repaired"
    assert len(lines) == 12
    process = finished(manage("sync", "verify", "account", "--processes", "3"))
    assert process.stdout.splitlines() == [f"finance.account: {ROWS} rows compared, 0 mismatches, 0 pending"]
    assert process.status == 0


def test_a_dry_run_prints_the_lines_of_one_process_range_by_range(accounts: list[str], mongo: Database) -> None:
    spoil(accounts, mongo)
    printed = []
    for processes in ("1", "2"):
        out = io.StringIO()
        with suppress(SystemExit):
            call_command("sync", "verify", "account", "--repair", "--dry-run", "--processes", processes, stdout=out)
        printed.append(out.getvalue().splitlines())
    alone, together = printed
    assert sorted(together) == sorted(alone)
    assert together[-1] == f"finance.account: {ROWS} rows compared, 12 mismatches, 0 pending"
    places = [(accounts.index(key) + 1) // 15 for line in together if (key := line.split()[1].rstrip(":")) in accounts]
    assert places == sorted(places)


class Stopped(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("stop_after", [1, 4])
def test_an_interrupted_run_continues_where_all_before_is_compared(
    stop_after: int, accounts: list[str], mongo: Database, monkeypatch: pytest.MonkeyPatch, two: Any
) -> None:
    keys = spoil(accounts, mongo)
    monkeypatch.setattr("sync.verification.verify.SAVE_EVERY", 0)

    def progress(steps: int) -> None:
        nonlocal stop_after
        stop_after -= bool(steps)
        if stop_after == 0:
            raise Stopped

    with pytest.raises(Stopped):
        verify(Target(Account), progress=progress, kind=two)
    [run] = Verification.objects.all()
    assert (run.finished_at, run.error) == (None, "Stopped")
    after = verify(Target(Account), resume=True, kind=two)
    assert after.pk == run.pk
    assert (after.compared, after.found) == (ROWS, len(keys) + 2)


def test_an_unreachable_server_is_reported_as_by_one_process(
    accounts: list[str], mongod: Mongo, settings: Any, monkeypatch: pytest.MonkeyPatch, two: Any
) -> None:
    monkeypatch.setenv("SYNC_TIMEOUT", "0.5")
    mongod.kill()
    with pytest.raises(Unavailable, match="MongoDB does not respond"):
        verify(Target(Account), kind=two)
    assert Verification.objects.get().error.startswith("MongoDB does not respond")


def test_a_process_that_is_killed_ends_the_run_with_an_error(
    accounts: list[str], monkeypatch: pytest.MonkeyPatch, two: Any
) -> None:
    monkeypatch.setattr(shared, "compare", kill_itself)
    with pytest.raises(OperationalError, match="One of the processes ended by itself"):
        verify(Target(Account), kind=two)


def test_a_sample_refuses_processes() -> None:
    with pytest.raises(CommandError, match="A sample has one process"):
        call_command("sync", "verify", "account", "--sample", "5", "--processes", "2")


def test_control_c_says_how_to_continue_with_as_many_processes(accounts: list[str], mongo: Database) -> None:
    mongo.accounts.delete_many({})
    with manage("sync", "verify", "account", "--processes", "2") as process:
        process.until(Verification.objects.exists)
        time.sleep(0.5)  # until it waits for the others, which take longer to start
        process.interrupt()
        assert process.wait(30) == 1
    assert "To continue: manage.py sync verify finance.account --resume --processes 2" in process.stderr
    assert "Traceback" not in process.stderr
    assert Verification.objects.get().finished_at is None
