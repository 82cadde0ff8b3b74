"""An application may keep a transaction open that has recorded changes. Nothing in the mirror waits for it to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.monitoring.status import status
from sync.outbox import backfill
from sync.outbox.actions import deliver_again
from sync.outbox.models import Change
from sync.outbox.relay import Relay, adopt_orphans
from sync.tests.support.factories import make
from sync.tests.support.transactions import Transaction
from sync.tests.zoo.models import Shelter, Town
from sync.verification.repair import Repairer
from sync.verification.scan import Scan
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

TARGET = Target(Account)


def deliver() -> None:
    Relay().drain()


def start_a_relay() -> None:
    adopt_orphans("default")


def plan_a_backfill() -> None:
    backfill.plan(TARGET)
    backfill.plan(TARGET)
    Relay().drain()


def expand_a_fan_out() -> None:
    Town.objects.update(name="Oban")
    Town.objects.update(name="Bute")
    Relay().drain()


def retry_all() -> None:
    Change.objects.all().retry()


def discard_all() -> None:
    assert Change.objects.all().discard().done == 1


def retry_one() -> None:
    key = Change.objects.get(failed=True).key
    deliver_again([TARGET], [key], inline=False)


def repair() -> None:
    verify(TARGET, repair=Repairer(Scan(TARGET, "default")))


def show_the_status() -> None:
    status()


ACTS = [
    deliver, start_a_relay, plan_a_backfill, expand_a_fan_out, retry_all, discard_all, retry_one, repair,
    show_the_status,
]  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_it_does_not_wait(act: Callable[[], None], mongo: Database, settings: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    settings.SYNC_INLINE = False
    town = Town.objects.create(name="Ayr")
    Shelter.objects.bulk_create([Shelter(name=name, town=town) for name in ("A", "B")])
    accounts = [make(number) for number in range(5)]
    Account.objects.bulk_create(accounts)
    Relay().drain()
    accounts[0].save()
    Change.objects.update(failed=True, error="refused")
    mongo.accounts.delete_one({"account_id": 1})

    def write() -> None:
        Account.objects.filter(account_id__gte=3).update(limit=7)
        Shelter.objects.filter(name="A").update(name="C")

    with Transaction(write) as application:
        act()
    assert application.error is None
    Relay().drain()
    assert sorted(mongo.accounts.distinct("account_id", {"limit": 7})) == [3, 4]
    assert mongo.zoo_shelters.count_documents({"name": "C"}) == 1
