"""A row that cannot be delivered is tried, then parked with its reason; every other row flows."""

from typing import Any

import pytest
from pymongo.database import Database

from finance.models import Account
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.hurry import hurry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture(autouse=True)
def no_inline(settings: Any) -> None:
    settings.SYNC_INLINE = False
    settings.SYNC_MAX_ATTEMPTS = 3


def refuse(number: int, mongo: Database) -> None:
    """Lets MongoDB refuse an account number."""
    mongo.command("collMod", "accounts", validator={"account_id": {"$ne": number}})


@pytest.fixture
def refused(mongo: Database) -> Any:
    if "accounts" not in mongo.list_collection_names():
        mongo.create_collection("accounts")
    refuse(13, mongo)
    yield
    mongo.command("collMod", "accounts", validator={})


def test_it_is_parked_after_a_few_tries_and_the_others_are_delivered(mongo: Database, refused: None) -> None:
    Account.objects.bulk_create([make(number) for number in range(20)])
    for attempt in range(1, 4):
        Relay().drain()
        change = Change.objects.get()
        assert change.attempts == attempt
        assert "Document failed validation" in change.error
        assert change.failed == (attempt == 3)
        hurry()
    Relay().drain()
    assert Change.objects.get().attempts == 3, "no further try"
    assert mongo.accounts.count_documents({}) == 19


def test_it_is_delivered_when_the_cause_is_gone(mongo: Database, refused: None) -> None:
    bad = make(13)
    bad.save()
    Relay().drain()
    assert Change.objects.get().error
    refuse(14, mongo)
    hurry()
    Relay().drain()
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("inline", [False, True])
def test_what_is_parked_is_delivered_with_the_next_save_that_can_be(
    mongo: Database, refused: None, settings: Any, inline: bool
) -> None:
    bad = make(13)
    bad.save()
    for _ in range(3):
        Relay().drain()
        hurry()
    assert Change.objects.get().failed
    settings.SYNC_INLINE = inline
    make(12).save()  # another's success is nothing to it
    hurry()
    Relay().drain()
    assert Change.objects.get().failed

    bad.account_id = 15
    bad.save()
    hurry()
    Relay().drain()
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


def test_its_own_mapping_may_raise_anything(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    Account.objects.bulk_create([make(1), make(2)])
    to_document = Account.to_document

    def picky(account: Account) -> dict:
        return to_document(account) if account.account_id == 1 else {}["no such key"]

    monkeypatch.setattr(Account, "to_document", picky)
    Relay().drain()
    assert Change.objects.get().error == "KeyError: 'no such key'"
    assert mongo.accounts.count_documents({}) == 1


def test_a_document_over_16_mb_says_so(mongo: Database) -> None:
    big = make(1, products=["x" * 17_000_000])
    Account.objects.bulk_create([big, make(2)])
    Relay().drain()
    assert "MongoDB holds 16,777,216" in Change.objects.get().error
    assert mongo.accounts.count_documents({}) == 1


def test_the_model_of_an_old_change_may_be_gone(mongo: Database) -> None:
    Change.objects.create(model="finance.forgotten", key="1", due_at="2020-01-01T00:00Z")
    make(1).save()
    Relay().drain()
    assert "no target finance.forgotten" in Change.objects.get().error
    assert mongo.accounts.count_documents({}) == 1


def test_a_key_that_is_none_says_so(mongo: Database) -> None:
    Change.objects.create(model="finance.account", key="not hex", due_at="2020-01-01T00:00Z")
    Relay().drain()
    assert "not a valid ObjectId" in Change.objects.get().error
