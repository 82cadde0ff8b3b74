"""When each target was last delivered to: stored with the target, so that no restart loses it."""

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pymongo.database import Database

from finance.models import Account, Customer
from sync.monitoring.status import status
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.commands import sync
from sync.tests.support.factories import make
from sync.tests.support.hurry import hurry
from sync.tests.support.waiting import wait_for
from sync.workers.heartbeat import WorkerHeartbeat
from sync.workers.models import ModelState, Worker

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.usefixtures("fresh_heartbeat"),
]  # fmt: skip


def last_delivery(label: str) -> datetime | None:
    return next(model.last_delivery for model in status().models if model.model == label)


def is_recent(label: str) -> bool:
    at = last_delivery(label)
    return at is not None and timezone.now() - at < timedelta(seconds=60)


def test_a_relay_that_ends_right_after_a_delivery_has_stored_it(mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = False
    relay = Relay(interval=0.05)
    thread = threading.Thread(target=relay.run)
    thread.start()
    wait_for(Worker.objects.exists)
    make(1).save()
    wait_for(lambda: not Change.objects.exists())
    relay.stop.set()
    thread.join()
    assert not Worker.objects.exists()
    assert is_recent("finance.account")
    assert last_delivery("finance.customer") is None


def test_a_relay_that_runs_once_stores_it(mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = False
    make(1).save()
    assert sync("relay", "--once")[0] == 0
    assert is_recent("finance.account")
    assert not Worker.objects.exists()


def test_a_target_without_a_row_gets_one(mongo: Database) -> None:
    ModelState.objects.all().delete()
    make(1).save()
    state = ModelState.objects.get()
    assert (state.model, state.mapping, state.paused) == ("finance.account", "", False)
    assert is_recent("finance.account")


def test_a_target_with_a_row_keeps_its_pause_and_its_mapping(mongo: Database) -> None:
    ModelState.objects.update_or_create(model="finance.account", defaults={"mapping": "f" * 64, "paused": True})
    ModelState.objects.filter(model="finance.customer").delete()
    ModelState.objects.delivered({"finance.account", "finance.customer"}, "default")
    state = ModelState.objects.get(model="finance.account")
    assert (state.mapping, state.paused) == ("f" * 64, True)
    assert is_recent("finance.account")
    assert is_recent("finance.customer")


def test_the_first_inline_delivery_of_each_target_is_stored_at_once(mongo: Database) -> None:
    make(1).save()
    Customer.objects.create(name="A", username="a", birthdate="1990-01-01T00:00Z")
    assert is_recent("finance.customer"), "although the process wrote its row a moment ago"


def test_a_batch_of_a_relay_stores_nothing(mongo: Database, settings: Any) -> None:
    """The heartbeat's thread does: a batch must not wait for another statement."""
    settings.SYNC_INLINE = False
    Account.objects.bulk_create([make(number) for number in range(3)])
    hurry()
    with CaptureQueriesContext(connection) as queries:
        Relay().drain()
    assert mongo.accounts.count_documents({}) == 3
    assert not [query for query in queries if "delivered_at" in query["sql"]]


def test_a_delivery_that_could_not_be_stored_is_stored_with_the_next_heartbeat(
    mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise DatabaseError("the table is locked")

    heartbeat = WorkerHeartbeat("default")
    heartbeat.count(1, [], {"finance.account"})
    with monkeypatch.context() as patch:
        patch.setattr("sync.workers.models.ModelStateQuerySet.delivered", fail)
        heartbeat.write()
    assert last_delivery("finance.account") is None
    heartbeat.write()
    assert is_recent("finance.account")
