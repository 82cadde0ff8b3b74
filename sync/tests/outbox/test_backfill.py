"""A backfill delivers every row, limits its rate, shares its work between relays, and lets single changes go first."""

import io
import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.outbox import backfill
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.zoo.models import Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def unmirrored(mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """250 rows without a document, in ranges of 40."""
    monkeypatch.setattr(backfill, "RANGE", 40)
    settings.SYNC_INLINE = False
    Account.objects.bulk_create([make(number) for number in range(250)])
    Change.objects.all().delete()


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("sync", "backfill", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_delivers_every_row(unmirrored: None, mongo: Database) -> None:
    out = run("account")
    assert "250 rows to deliver" in out
    assert "250 rows delivered, 0 left" in out
    assert mongo.accounts.count_documents({}) == 250
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_a_relay_delivers_a_planned_backfill(unmirrored: None, mongo: Database) -> None:
    assert "250 rows to deliver" in run("account", "--plan-only")
    assert backfill.left() == 7
    Relay().drain()
    assert differences(Account, mongo) == []
    assert backfill.left() == 0


def test_changes_of_single_rows_are_delivered_before_ranges(unmirrored: None, mongo: Database) -> None:
    backfill.plan(Target(Account))
    Account.objects.filter(account_id=249).update(limit=5)
    relay = Relay()
    relay.drain(progress=lambda keys: relay.stop.set())
    assert mongo.accounts.count_documents({}) == 1
    assert mongo.accounts.find_one()["limit"] == 5


def test_planning_again_replaces_the_plan(unmirrored: None) -> None:
    backfill.plan(Target(Account))
    assert backfill.plan(Target(Account)) == 250
    assert backfill.left() == 7


def test_its_rate_can_be_limited(unmirrored: None, mongo: Database) -> None:
    backfill.plan(Target(Account), rate=100)
    Relay().drain()
    assert 0 < mongo.accounts.count_documents({}) < 250
    assert backfill.left() > 0


def test_two_relays_share_the_work(unmirrored: None, mongo: Database) -> None:
    backfill.plan(Target(Account))
    counts = []

    def share() -> None:
        try:
            counts.append(sum(Relay().drain().values()))
        finally:
            connections.close_all()

    helpers = [threading.Thread(target=share) for _ in range(2)]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join()
    assert sum(counts) == 250
    assert differences(Account, mongo) == []


def test_numeric_keys_have_ranges_too(mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "RANGE", 3)
    settings.SYNC_INLINE = False
    for _ in range(11):
        Tag.objects.create()
    Change.objects.all().delete()
    assert backfill.plan(Target(Tag)) == 11
    Relay().drain()
    assert mongo.zoo_tags.count_documents({}) == 11


def test_a_row_that_cannot_be_written_becomes_a_separate_change(unmirrored: None, mongo: Database) -> None:
    bad = make(999, products=["x" * 17_000_000])
    bad.save()
    Change.objects.all().delete()
    with pytest.raises(SystemExit) as end:
        run("account")
    assert end.value.code == 1
    assert Change.objects.get().key == bad.pk
    assert mongo.accounts.count_documents({}) == 250
