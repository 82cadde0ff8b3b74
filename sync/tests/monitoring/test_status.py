"""Status is correct: counts of both databases, pending changes, and unknown values that are not shown as zero."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pymongo.database import Database

from examples.news.models import Story
from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.monitoring.status import TITLES, WORDS, ModelStatus, status
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.factories import leave_pending, make
from sync.tests.support.hurry import confirm
from sync.tests.support.publishing import story
from sync.verification.models import Mismatch, Verification
from sync.workers.heartbeat import INLINE_HEARTBEAT, SILENCE, WorkerHeartbeat
from sync.workers.models import ModelState, Worker
from tests.servers import Mongo

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.usefixtures("fresh_heartbeat"),
]  # fmt: skip


def accounts() -> ModelStatus:
    return next(model for model in status().models if model.model == "finance.account")


def test_it_counts_both_databases(mongo: Database, settings: Any) -> None:
    for number in range(3):
        make(number).save()
    now = accounts()
    assert (now.rows, now.documents, now.pending, now.oldest_pending_age) == (3, 3, 0, None)
    assert now.in_flight == 3, "a relay will confirm them"
    confirm()
    assert accounts().in_flight == 0
    assert now.last_delivery is not None
    assert status().word == "in_sync"
    settings.SYNC_INLINE = False
    make(4).save()
    Account.objects.filter(account_id=0).update(limit=1)
    now = accounts()
    assert (now.rows, now.documents, now.pending) == (4, 3, 2)
    assert 0 <= now.oldest_pending_age < 5


@pytest.mark.parametrize(
    ("age", "relay", "word"),
    [(0, True, "in_sync"), (0, False, "in_sync"), (7, True, "lagging"), (7, False, "lagging"), (30, True, "lagging"),
     (30, False, "stalled")],
)  # fmt: skip
def test_pending_changes_are_in_sync_then_lagging_and_without_a_relay_stalled(
    mongo: Database, age: float, relay: bool, word: str
) -> None:
    leave_pending(age)
    if relay:
        WorkerHeartbeat("default").write()
    assert (status().word, status().pending) == (word, 1)


def test_a_dead_relay_does_not_count(mongo: Database) -> None:
    leave_pending(30)
    WorkerHeartbeat("default").write()
    Worker.objects.update(heartbeat_at=DatabaseNow() - timedelta(seconds=SILENCE["relay"] + 1))
    assert status().word == "stalled"


def test_a_paused_model_is_neither_lagging_nor_stalled(mongo: Database) -> None:
    leave_pending(30)
    ModelState.objects.update_or_create(model="finance.account", defaults={"paused": True})
    assert status().word == "paused"
    assert accounts().paused


def test_the_ranges_of_a_backfill_are_not_pending_changes(mongo: Database) -> None:
    leave_pending(30, until="f" * 24)
    now = accounts()
    assert (now.pending, now.backfill, now.oldest_pending_age) == (0, 1, None)
    assert status().word == "lagging"


def test_unpublished_changes_are_pending_for_the_topic() -> None:
    story()
    [topic] = [model for model in status().models if model.model == "news.story@kafka:story-events"]
    assert (topic.pending, topic.rows, topic.documents) == (1, 1, None)
    assert Story.objects.count() == 1


def test_a_settling_delete_is_not_pending(mongo: Database) -> None:
    account = make(1)
    account.save()
    account.delete()
    confirm()
    now = accounts()
    assert (now.pending, now.in_flight, now.settling) == (0, 0, 1)
    assert status().word == "in_sync"


def test_failures_are_counted_in_rows(mongo: Database) -> None:
    leave_pending(30, failed=True, error="because")
    key = Change.objects.get().key
    for failed in (True, False, False):
        Change.objects.create(model="finance.account", key=key, failed=failed, error="because")
    now = status()
    [account] = [model for model in now.models if model.model == "finance.account"]
    assert account.failed == 1
    [failure] = account.failures
    assert (failure.failed, failure.retrying, failure.changes) == (1, 1, 4)


def test_failed_changes_are_counted_separately(mongo: Database) -> None:
    leave_pending(30, failed=True, error="because")
    WorkerHeartbeat("default").write()
    now = accounts()
    assert (now.pending, now.failed) == (0, 1)
    assert status().word == "failing"


def test_lags_of_all_workers_are_merged(mongo: Database) -> None:
    assert (status().lag.p50, status().lag.p99, status().rate) == (None, None, None), "unknown is not zero"
    for seconds in (0.004, 0.004, 0.004, 90.0):
        heartbeat = WorkerHeartbeat("default")
        heartbeat.count(10, [seconds] * 10)
        heartbeat.write()
    now = status().lag
    assert (now.p50, now.p95, now.p99, now.delivered) == (0.005, 100.0, 100.0, 40)
    assert status().rate > 0
    Worker.objects.update(heartbeat_at=DatabaseNow() - timedelta(seconds=SILENCE["relay"] + 1))
    assert (status().lag.p50, status().rate) == (None, None), "dead workers do not count"


def test_a_change_that_waited_for_the_relay_has_its_whole_lag(mongo: Database, settings: Any) -> None:
    leave_pending(40)
    relay = Relay()
    relay.drain()
    relay.heartbeat.write()
    assert sum(relay.heartbeat.lags.ever) == 1
    assert 40 <= relay.heartbeat.lags.seconds < 50


def test_the_second_delivery_of_a_delete_adds_no_lag(mongo: Database, settings: Any) -> None:
    settings.SYNC_SETTLE = 0
    settings.SYNC_INLINE = False
    make(1).save()
    Account.objects.all().delete()
    relay = Relay()
    relay.drain()
    assert not Change.objects.exists()
    assert (relay.heartbeat.delivered, sum(relay.heartbeat.lags.ever)) == (1, 2), "one key, two changes"


def test_an_inline_delivery_is_not_counted_again_when_it_is_confirmed(mongo: Database, settings: Any) -> None:
    settings.SYNC_CONFIRM = 0.01
    account = make(1)
    account.save()
    account.save()
    make(2).save()
    account.delete()
    assert sum(INLINE_HEARTBEAT.lags.ever) == INLINE_HEARTBEAT.delivered == 4
    time.sleep(0.1)
    relay = Relay()
    relay.drain()
    assert Change.objects.get().settling
    assert (relay.heartbeat.delivered, sum(relay.heartbeat.lags.ever)) == (0, 0)


def test_changes_of_a_frozen_relay_are_behind_and_without_a_relay_stalled(mongo: Database) -> None:
    leave_pending(30, claim="a" * 24)
    Change.objects.update(due_at=DatabaseNow() + timedelta(seconds=20))
    now = accounts()
    assert (now.pending, now.in_flight) == (0, 1)
    assert now.oldest_in_flight_age >= 30
    assert status().word == "stalled"
    WorkerHeartbeat("default").write()
    assert status().word == "lagging"


def test_it_has_the_last_verification_and_the_remaining_mismatches(mongo: Database) -> None:
    assert accounts().verified is None
    moment = timezone.now()
    for found, finished_at in ((5, moment), (2, moment), (9, None)):
        Verification.objects.create(
            model="finance.account", mode="full", finished_at=finished_at, compared=10, found=found
        )
    Mismatch.objects.create(model="finance.account", key="a", kind="missing", last_seen=moment)
    now = accounts()
    assert (now.verified.found, now.verified.compared, now.verified.mode) == (2, 10, "full")
    assert now.mismatches == 1
    assert status().word == "mismatched"


def test_documents_are_unknown_while_mongodb_is_unreachable(mongo: Database, mongod: Mongo, monkeypatch: Any) -> None:
    monkeypatch.setattr("sync.monitoring.status.TIMEOUT", 0.5)
    make(1).save()
    mongod.kill()
    now = status()
    assert not now.mongodb_up
    assert now.word == "unreachable"
    assert {model.documents for model in now.models} == {None}
    assert next(model for model in now.models if model.model == "finance.account").rows == 1


def test_a_count_that_takes_too_long_is_unknown_and_mongodb_is_up(mongo: Database, monkeypatch: Any) -> None:
    make(1).save()
    fail_point = {"failCommands": ["aggregate"], "blockConnection": True, "blockTimeMS": 1500}
    admin = mongo.client.admin
    monkeypatch.setattr("sync.monitoring.status.TIMEOUT", 0.5)
    try:
        admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=fail_point)
        start = time.monotonic()
        now = status()
        assert time.monotonic() - start < 1.5
    finally:
        admin.command("configureFailPoint", "failCommand", mode="off")
    assert (now.mongodb_up, now.word) == (True, "in_sync")
    assert {model.documents for model in now.models} == {None}


def test_the_number_of_queries_does_not_depend_on_changes_and_workers(mongo: Database) -> None:
    status()
    with CaptureQueriesContext(connection) as few:
        status()
    for number in range(5):
        leave_pending(number, error=f"MongoDB: {number}")
        Account.objects.all().delete()
        WorkerHeartbeat("default").write()
    with CaptureQueriesContext(connection) as many:
        status()
    assert len(many) == len(few) == 8 + len({model.model.partition("@")[0] for model in status().models})


def test_every_state_has_a_meaning() -> None:
    assert (
        list(TITLES)
        == list(WORDS)
        == ["unreachable", "stalled", "failing", "mismatched", "lagging", "paused", "in_sync"]
    )
