"""Workers report that they are alive, what they wait for and their throughput, and never make a save fail."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pymongo.database import Database

from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.monitoring.status import status
from sync.outbox.relay import Relay
from sync.tests.support.factories import make
from sync.tests.support.processes import relaying
from sync.tests.support.waiting import wait_for
from sync.workers.heartbeat import (
    INLINE,
    INLINE_BEAT,
    INLINE_HEARTBEAT,
    RELAY,
    SILENCE,
    Heartbeat,
    InlineHeartbeat,
    WorkerHeartbeat,
)
from sync.workers.lag import BOUNDS, quantile
from sync.workers.models import Worker
from tests.servers import Mongo

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.usefixtures("fresh_heartbeat"),
]  # fmt: skip


@pytest.fixture
def running(mongo: Database, monkeypatch: Any) -> Iterator[Relay]:
    """A relay that runs in a thread, with a heartbeat every 0.1 s."""
    monkeypatch.setattr("sync.workers.heartbeat.BEAT", 0.1)
    relay = Relay(interval=0.05)
    thread = threading.Thread(target=relay.run)
    thread.start()
    wait_for(Worker.objects.filter(kind=RELAY).exists)
    yield relay
    relay.stop.set()
    thread.join()


def silence(seconds: float) -> None:
    Worker.objects.update(heartbeat_at=DatabaseNow() - timedelta(seconds=seconds))


def test_a_relay_reports_what_it_delivers_and_its_lag(running: Relay, settings: Any) -> None:
    settings.SYNC_INLINE = False
    Account.objects.bulk_create([make(number) for number in range(20)])
    wait_for(lambda: Worker.objects.get().delivered == 20)
    row = Worker.objects.get()
    assert (row.kind, row.pid, row.note) == (RELAY, os.getpid(), "")
    assert sum(row.lags["recent"]) == sum(row.lags["ever"]) == 20
    assert 0 < row.lags["seconds"] / 20 < 10
    first = row.heartbeat_at
    wait_for(lambda: Worker.objects.get().heartbeat_at > first)


def test_a_relay_that_stops_removes_its_row(running: Relay) -> None:
    running.stop.set()
    wait_for(lambda: not Worker.objects.exists())


def test_a_relay_reports_what_it_waits_for(running: Relay, mongod: Mongo, settings: Any) -> None:
    settings.SYNC_INLINE, settings.SYNC_TIMEOUT = False, 1.0
    mongod.freeze()
    make(1).save()
    wait_for(lambda: Worker.objects.get().note.startswith("MongoDB does not respond"))
    mongod.thaw()
    wait_for(lambda: Worker.objects.get().note == "")


def test_a_relay_reports_that_one_batch_takes_long(mongo: Database, monkeypatch: Any) -> None:
    heartbeat = WorkerHeartbeat("default")
    heartbeat.at_work(True)
    heartbeat.batch_began = time.monotonic() - 30
    with heartbeat.beating(lambda: ""):
        wait_for(Worker.objects.filter(note="busy with one batch for 30 s").exists)


def test_a_killed_relay_is_dead_after_three_missed_heartbeats_and_swept_by_the_next(mongo: Database) -> None:
    with relaying() as relay:
        relay.until(Worker.objects.exists)
    assert status().relays == 1, "its heartbeat has not expired yet"
    silence(SILENCE[RELAY] + 1)
    assert status().relays == 0
    assert [worker.alive for worker in status().workers] == [False]
    WorkerHeartbeat("default").write()
    assert Worker.objects.get().pid == os.getpid()


def test_a_relay_that_was_swept_while_it_was_frozen_returns_with_its_next_heartbeat(mongo: Database) -> None:
    heartbeat = WorkerHeartbeat("default")
    heartbeat.count(3, [0.1])
    heartbeat.write()
    Worker.objects.all().delete()
    heartbeat.write()
    assert (Worker.objects.get().pk, Worker.objects.get().delivered) == (heartbeat.id, 3)


def test_a_web_process_writes_its_row_with_a_delivery_at_most_every_ten_seconds(mongo: Database) -> None:
    make(1).save()
    row = Worker.objects.get()
    assert (row.kind, row.delivered, sum(row.lags["ever"])) == (INLINE, 1, 1)
    account = make(2)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        account.save()
    assert not [query for query in queries if "sync_worker" in query["sql"]]
    INLINE_HEARTBEAT.next_write -= INLINE_BEAT
    with CaptureQueriesContext(connection) as queries:
        account.save()
    assert [query["sql"].split()[0] for query in queries if "sync_worker" in query["sql"]] == ["UPDATE"]
    assert Worker.objects.get().delivered == 3


def test_a_heartbeat_is_never_written_inside_a_transaction(mongo: Database) -> None:
    with transaction.atomic():
        INLINE_HEARTBEAT.delivered_inline(1, 0.001, "default")
        assert not Worker.objects.exists()
    INLINE_HEARTBEAT.delivered_inline(1, 0.001, "default")
    assert Worker.objects.get().delivered == 2


def test_a_heartbeat_that_cannot_be_written_does_not_fail_a_save(
    mongo: Database, monkeypatch: Any, caplog: Any
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("the table is locked")

    monkeypatch.setattr("sync.workers.heartbeat.Heartbeat._write", fail)
    make(1).save()
    assert mongo.accounts.count_documents({}) == 1
    assert "Could not write the heartbeat: The database failed: the table is locked" in caplog.text
    assert status().word == "in_sync"


def test_a_web_process_reports_that_mongodb_does_not_respond(mongo: Database, mongod: Mongo, settings: Any) -> None:
    settings.SYNC_INLINE_TIMEOUT = 0.3
    mongod.freeze()
    make(1).save()
    mongod.thaw()
    row = Worker.objects.get()
    assert row.note.startswith("MongoDB does not respond")
    assert row.delivered == 0


def test_an_idle_web_process_is_counted_for_some_minutes_and_then_swept_by_the_next(mongo: Database) -> None:
    make(1).save()
    silence(60)
    assert status().lag.delivered == 1
    silence(SILENCE[INLINE] + 1)
    assert status().lag.delivered == 0
    InlineHeartbeat().delivered_inline(1, 0.001, "default")
    assert Worker.objects.count() == 1


def test_each_process_has_its_own_row_after_a_fork(mongo: Database) -> None:
    make(1).save()
    mine, results = INLINE_HEARTBEAT.id, multiprocessing.get_context("fork").Queue()

    def child() -> None:
        results.put((INLINE_HEARTBEAT.id, INLINE_HEARTBEAT.delivered, INLINE_HEARTBEAT.next_write))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    theirs = results.get(timeout=20)
    process.join()
    assert theirs[0] != mine
    assert theirs[1:] == (0, 0.0)


def test_concurrent_threads_lose_no_count(mongo: Database) -> None:
    heartbeat = InlineHeartbeat()
    heartbeat.next_write = float("inf")

    def deliver() -> None:
        for _ in range(2000):
            heartbeat.delivered_inline(1, 0.003, "default")

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heartbeat.delivered == sum(heartbeat.lags.ever) == 8000


def test_the_bounds_range_from_a_millisecond_to_an_hour() -> None:
    assert (BOUNDS[0], BOUNDS[-1]) == (0.001, 3600.0)
    assert all(1 < high / low <= 2.5 for low, high in pairwise(BOUNDS))
    assert quantile([0] * (len(BOUNDS) + 1), 0.5) is None


def test_a_heartbeat_that_cannot_be_written_is_logged_once_and_again_after_a_success(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heartbeat, works = WorkerHeartbeat("default"), [False, False, True, False]

    def write(self: Heartbeat) -> None:
        if not works.pop(0):
            raise DatabaseError("the table is locked")

    monkeypatch.setattr(Heartbeat, "_write", write)
    for logged in (1, 1, 1, 2):
        heartbeat.write()
        assert caplog.text.count("Could not write the heartbeat") == logged
