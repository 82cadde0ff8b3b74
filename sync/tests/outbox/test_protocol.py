"""Each step of the delivery protocol with a concurrent write between it and the next one."""

import time
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.outbox.models import Change
from sync.outbox.mongo_writer import State, deliver
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.hurry import confirm, hurry
from sync.tests.support.interleaving import between_row_and_write

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def account(mongo: Database) -> Account:
    account = Account.objects.create(account_id=1, limit=1, products=[])
    confirm()
    return account


def deliver_one(key: str) -> State:
    return deliver(Target(Account), [key], "default", "a token").states[key]


def test_a_replace_loses_to_a_concurrent_write(
    account: Account, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    between_row_and_write(monkeypatch, lambda: Account.objects.filter(pk=account.pk).update(limit=2))
    assert deliver_one(account.pk) is State.CONFLICT
    assert mongo.accounts.find_one()["limit"] == 2


def test_an_insert_loses_to_a_concurrent_insert(account: Account, mongo: Database, monkeypatch: Any) -> None:
    mongo.accounts.delete_many({})
    between_row_and_write(monkeypatch, lambda: Account.objects.filter(pk=account.pk).update(limit=2))
    assert deliver_one(account.pk) is State.CONFLICT
    assert mongo.accounts.find_one()["limit"] == 2


def test_a_delete_loses_to_a_concurrent_write(account: Account, mongo: Database, monkeypatch: Any) -> None:
    again = Account.objects.get()
    account.delete()
    mongo.accounts.insert_one({"_id": ObjectId(again.pk), "_sync": {"v": Int64(5)}})

    between_row_and_write(monkeypatch, again.save)
    assert deliver_one(again.pk) is State.CONFLICT
    assert differences(Account, mongo) == []


def test_a_delivery_that_loses_the_race_keeps_its_change(
    account: Account, mongo: Database, monkeypatch: Any, settings: Any
) -> None:
    settings.SYNC_INLINE = False
    Account.objects.filter(pk=account.pk).update(limit=2)
    bump = {"$set": {"_sync.v": Int64(time.time_ns() // 1000 + 10**9)}}
    between_row_and_write(monkeypatch, lambda: mongo.accounts.update_one({}, bump))
    counts = Relay().drain()
    assert counts[State.CONFLICT] == 1
    assert counts[State.DELIVERED] == 1
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_mongodb_rejects_an_insert_after_its_deadline(
    account: Account, mongo: Database, monkeypatch: Any, settings: Any
) -> None:
    """The process is frozen for longer than the lease, and the row is deleted meanwhile."""
    settings.SYNC_LEASE, settings.SYNC_SETTLE = 0.5, 0.7
    mongo.accounts.delete_many({})

    def gone_for_long() -> None:
        account.delete()
        confirm()
        time.sleep(1)
        Relay().drain()

    between_row_and_write(monkeypatch, gone_for_long)
    assert deliver_one(account.pk) is State.CONFLICT
    assert mongo.accounts.count_documents({}) == 0
    assert not Change.objects.exists(), "no change is left that would remove the document later"


def test_a_settling_delete_removes_a_document_that_a_slow_insert_restored(
    account: Account, mongo: Database, monkeypatch: Any, settings: Any
) -> None:
    settings.SYNC_LEASE, settings.SYNC_SETTLE = 5, 0.5
    mongo.accounts.delete_many({})
    key = account.pk
    between_row_and_write(monkeypatch, account.delete)
    assert deliver_one(key) is State.DELIVERED
    assert mongo.accounts.count_documents({}) == 1, "the slow insert restores the document"
    confirm()
    assert Change.objects.get().settling
    time.sleep(0.6)
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 0
    assert not Change.objects.exists()


def test_a_change_of_an_unchanged_row_is_harmless(account: Account, mongo: Database) -> None:
    Change.objects.create(model="finance.account", key=account.pk, due_at="2020-01-01T00:00Z")
    Relay().drain()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_several_changes_of_one_key_are_one_write(account: Account, mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = False
    for limit in range(5):
        account.limit = limit
        account.save()
    assert Relay().drain()[State.DELIVERED] == 1
    assert not Change.objects.exists()


def test_an_inline_delivery_is_confirmed_without_another_write(account: Account, mongo: Database) -> None:
    account.limit = 5
    account.save()
    [held] = Change.objects.all()
    before = mongo.accounts.find_one()
    assert before["limit"] == 5
    assert before["_sync"]["by"] == held.claim
    time.sleep(0.5)  # until the majority has it: MongoDB writes its journal every 100 ms
    confirm()
    assert mongo.accounts.find_one() == before
    assert not Change.objects.exists()


def test_a_write_reverted_by_a_failover_is_delivered_again(account: Account, mongo: Database) -> None:
    before = mongo.accounts.find_one()
    account.limit = 5
    account.save()
    mongo.accounts.replace_one({}, before)  # as if a failover had reverted the write
    confirm()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_a_later_write_of_another_writer_does_not_confirm_the_change(
    account: Account, mongo: Database, settings: Any
) -> None:
    """The other writer may have read the row before this change was committed."""
    account.limit = 5
    account.save()
    stale = {"$set": {"_sync.by": "another", "limit": 1}}
    mongo.accounts.update_one({}, stale)
    confirm()
    assert differences(Account, mongo) == []


def test_the_next_relay_confirms_a_write_of_a_killed_relay(account: Account, mongo: Database) -> None:
    account.limit = 6
    account.save()
    hurry()
    assert len(Change.objects.due().claim(10, "killed")) == 1
    assert deliver(Target(Account), [account.pk], "default", "killed").states[account.pk] is State.DELIVERED
    before = mongo.accounts.find_one()
    confirm()
    assert mongo.accounts.find_one() == before
    assert not Change.objects.exists()


@pytest.mark.parametrize("rows", [1, 30])
@pytest.mark.parametrize("exists", [True, False])
def test_the_same_version_of_another_delivery_is_a_conflict(
    mongo: Database, monkeypatch: pytest.MonkeyPatch, settings: Any, rows: int, *, exists: bool
) -> None:
    """Two deliveries at the same time, or with clocks behind the document's version, choose the same next version."""
    settings.SYNC_INLINE = False
    Account.objects.bulk_create([Account(account_id=number, limit=1) for number in range(rows)])
    keys = list(Account.objects.values_list("pk", flat=True))
    if exists:
        Relay().drain()
        mongo.accounts.update_many({}, {"$set": {"_sync.v": Int64(2**61)}})
    else:
        monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    between_row_and_write(monkeypatch, lambda: deliver(Target(Account), keys, "default", "another token"))
    outcome = deliver(Target(Account), keys, "default", "a token")
    assert set(outcome.states.values()) == {State.CONFLICT}
    assert mongo.accounts.distinct("_sync.by") == ["another token"]
