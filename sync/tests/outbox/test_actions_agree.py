"""Retry, discard, pause and resume act and report alike in the CLI and the console, and skip changes in flight."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.management import CommandError
from django.db import connections
from django.test import Client
from pymongo.database import Database

from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.mapping.fields import new_object_id
from sync.outbox.actions import DISCARD, RETRY
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support import commands
from sync.tests.support.factories import make
from sync.tests.support.hurry import LONG_AGO, confirm
from sync.tests.support.people import OPERATOR, user
from sync.workers.models import ModelState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

LABEL = "finance.account"


@pytest.fixture(autouse=True)
def row(mongo: Database) -> Account:
    row = make(1)
    row.save()
    confirm()
    return row


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(user("theo", *OPERATOR))
    return client


def change(**fields: Any) -> Change:
    made = {"model": LABEL, "key": Account.objects.get().pk, "due_at": LONG_AGO, "attempts": 2, "error": "MongoDB: no"}
    return Change.objects.create(**made | fields)


def in_flight(**fields: Any) -> Change:
    """A change that a relay has claimed again after a failed attempt."""
    made = change(**fields)
    token = new_object_id()
    assert made.pk in [claimed.pk for claimed in Change.objects.due().claim(10, token)]
    return Change.objects.get(pk=made.pk)


def sync(*arguments: str) -> tuple[int, list[str]]:
    status, output = commands.sync(*arguments)
    return status, output.splitlines()


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def values_of(made: Change) -> dict[str, Any]:
    return Change.objects.filter(pk=made.pk).values().get()


def test_retry_all_skips_and_counts_changes_in_flight(operator: Client) -> None:
    held = in_flight()
    waiting = change(due_at=DatabaseNow() + timedelta(hours=1))
    before = values_of(held)
    assert sync("retry", "--all") == (0, ["1 change will be retried now.", "1 skipped: in flight."])
    assert values_of(held) == before
    Change.objects.filter(pk=waiting.pk).update(due_at=DatabaseNow() + timedelta(hours=1))
    response = operator.post("/sync/changes/order/", {"act": RETRY, "which": "all", "expected": 2, "sure": "on"})
    assert messages_of(response) == ["1 change will be retried now.", "1 skipped: in flight."]
    assert values_of(held) == before


def test_retrying_a_key_skips_the_change_in_flight_and_records_another(operator: Client) -> None:
    held = in_flight()
    before = values_of(held)
    assert sync("retry", "account", held.key) == (0, ["1 change will be retried now.", "1 skipped: in flight."])
    assert values_of(held) == before
    assert Change.objects.count() == 2
    response = operator.post(f"/sync/record/{LABEL}/{held.key}/")
    assert "1 skipped: in flight." in messages_of(response)
    assert values_of(held) == before


def test_discard_skips_and_counts_changes_in_flight(operator: Client) -> None:
    held = in_flight()
    before = values_of(held)
    dead = change(failed=True)
    assert sync("discard", "account", held.key, "--yes") == (1, ["1 change was discarded.", "1 skipped: in flight."])
    assert values_of(held) == before
    assert not Change.objects.filter(pk=dead.pk).exists()
    dead = change(failed=True)
    data = {"act": DISCARD, "which": "selected", "sure": "on", "change": [held.pk, dead.pk]}
    assert messages_of(operator.post("/sync/changes/order/", data)) == [
        "1 change was discarded.",
        "1 skipped: in flight.",
    ]
    assert values_of(held) == before


def test_an_unconfirmed_inline_delivery_is_in_flight_too() -> None:
    row = Account.objects.get()
    row.limit = 7
    row.save()
    [born] = Change.objects.filter(key=row.pk)
    assert born.claim
    before = values_of(born)
    retried, discarded = Change.objects.all().retry(), Change.objects.all().discard()
    assert (retried.done, retried.in_flight) == (discarded.done, discarded.in_flight) == (0, 1)
    assert values_of(born) == before


def test_a_change_whose_lease_has_expired_is_retried() -> None:
    held = in_flight()
    Change.objects.filter(pk=held.pk).update(due_at=LONG_AGO)
    assert sync("retry", "--all") == (0, ["1 change will be retried now."])
    assert Change.objects.get(pk=held.pk).claim == ""


def test_retry_does_not_shorten_the_settling_of_a_delete() -> None:
    settling = change(settling=True, error="", attempts=0, due_at=DatabaseNow() + timedelta(seconds=60))
    before = values_of(settling)
    assert Change.objects.all().retry().done == 0
    assert values_of(settling) == before


def test_retrying_a_key_keeps_the_backfill_range_that_starts_there() -> None:
    planned = change(until="f" * 24, failed=True)
    sync("retry", "account", planned.key)
    assert Change.objects.filter(pk=planned.pk).exists()


def test_changes_of_a_removed_target_can_be_retried_and_discarded() -> None:
    gone = change(model="finance.account@gone:x", failed=True)
    assert sync("retry") == (0, ["1 change will be retried now."])
    Change.objects.filter(pk=gone.pk).update(failed=True)
    assert sync("retry", gone.model) == (0, ["1 change will be retried now."])
    Change.objects.filter(pk=gone.pk).update(failed=True)
    assert sync("discard", gone.model, "--yes") == (0, ["1 change was discarded."])
    with pytest.raises(CommandError, match="is not a mirrored model"):
        sync("discard", "finance.account@gone:y", "--yes")


def test_a_key_in_another_spelling_is_the_same_key() -> None:
    dead = change(failed=True)
    sync("retry", "account", dead.key.upper())
    assert [each.key for each in Change.objects.all()] == [dead.key]


def test_pause_and_resume_report_the_same(operator: Client) -> None:
    assert sync("pause", "account")[1][0] == f"Delivery of {LABEL} is paused."
    assert sync("pause", "account")[1][0] == f"Delivery of {LABEL} is already paused."
    assert messages_of(operator.post(f"/sync/targets/{LABEL}/pause/")) == [f"Delivery of {LABEL} is already paused."]
    assert sync("resume", "account")[1][0] == f"Delivery of {LABEL} is resumed."
    assert sync("resume", "account")[1][0] == f"Delivery of {LABEL} is not paused."
    assert not ModelState.objects.get(model=LABEL).paused
    assert messages_of(operator.post(f"/sync/targets/{LABEL}/pause/"))[-1] == f"Delivery of {LABEL} is paused."


def test_pausing_leaves_changes_in_flight_with_their_relay(mongo: Database) -> None:
    held = in_flight()
    before = values_of(held)
    sync("pause", "account")
    sync("resume", "account")
    assert values_of(held) == before


def test_retrying_continuously_while_relays_deliver_loses_nothing(mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = False
    rows = [make(number) for number in range(2, 60)]
    Account.objects.bulk_create(rows)
    Change.objects.update(error="MongoDB: no", attempts=1)
    stop = threading.Event()

    def keep_retrying() -> None:
        try:
            while not stop.is_set():
                Change.objects.exclude(error="", failed=False).retry()
        finally:
            connections.close_all()

    thread = threading.Thread(target=keep_retrying)
    thread.start()
    try:
        for _ in range(20):
            Relay(batch=5).drain()
    finally:
        stop.set()
        thread.join()
    Relay().drain()
    assert not Change.objects.exists()
    assert mongo.accounts.count_documents({}) == 59
