"""Known failures of outbox tables, one test each: wrong order, failing targets, locks, and relays that come and go."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson import ObjectId
from django.core.management import call_command
from django.db import connection, connections, transaction
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill
from sync.outbox.models import Change
from sync.outbox.mongo_writer import State
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences, rows
from sync.tests.support.factories import make
from sync.tests.support.hurry import hurry
from sync.tests.support.processes import manage
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture(autouse=True)
def through_the_table(mongo: Database, settings: Any) -> None:
    """Turns off inline delivery, so that every change waits for a relay, and makes leases too long to expire."""
    settings.SYNC_INLINE = False
    settings.SYNC_LEASE, settings.SYNC_SETTLE = 60, 90


@contextmanager
def uncommitted(work: Callable[[], Any]) -> Iterator[None]:
    """Do `work` in a transaction of another connection, and commit it at the end of the block."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    begun, end = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                work()
                begun.set()
                end.wait(60)
        finally:
            begun.set()
            connections.close_all()

    other = threading.Thread(target=hold)
    other.start()
    begun.wait(60)
    try:
        yield
    finally:
        end.set()
        other.join()


def settle() -> None:
    """Deliver all changes, confirm inline deliveries, and let deletes settle."""
    for _ in range(3):
        Relay().drain()
        hurry()
    assert not Change.objects.exists()


# --- order ----------------------------------------------------------------------------------------------------------


def test_a_change_that_is_committed_after_later_ones_is_delivered(mongo: Database) -> None:
    with uncommitted(lambda: Account.objects.create(account_id=1, limit=1)):
        later = Account.objects.create(account_id=2, limit=2)
        Relay().drain()
        assert [document["_id"] for document in mongo.accounts.find()] == [ObjectId(later.pk)]
    assert Change.objects.count() == 1, "the earlier change is visible only now"
    Relay().drain()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_the_newest_state_is_delivered_if_ids_are_in_the_wrong_order(mongo: Database) -> None:
    """Clients with different clocks generate the ids of changes, so delivery must not depend on their order."""
    account = Account.objects.create(account_id=1, limit=1)
    Change.objects.update(id="f" * 24)
    Account.objects.filter(pk=account.pk).update(limit=2)
    Change.objects.exclude(id="f" * 24).update(id="0" * 24)
    relay = Relay(batch=1)
    relay.drain()
    assert mongo.accounts.find_one()["limit"] == 2
    assert not Change.objects.exists()


def delete_then_create(account: Account) -> None:
    pk = account.pk
    account.delete()
    Account.objects.create(id=pk, account_id=7, limit=7)


def create_then_delete(account: Account) -> None:
    delete_then_create(account)
    Account.objects.all().delete()


@pytest.mark.parametrize("newest_first", [False, True], ids=["in order", "newest first"])
@pytest.mark.parametrize("write", [delete_then_create, create_then_delete])
@pytest.mark.parametrize("one_transaction", [False, True], ids=["apart", "together"])
def test_a_deleted_and_recreated_row_is_delivered_in_any_order_of_changes(
    write: Callable[[Account], None], newest_first: bool, one_transaction: bool, mongo: Database
) -> None:
    account = Account.objects.create(account_id=1, limit=1)
    Relay().drain()
    if one_transaction:
        with transaction.atomic():
            write(account)
    else:
        write(account)
    changes = list(Change.objects.order_by("recorded_at"))
    assert len(changes) >= 2
    for place, change in enumerate(changes):
        change.due_at = f"2020-01-01T00:00:{len(changes) - place if newest_first else place:02}Z"
        change.save()
    Relay(batch=1).drain()  # one change at a time, in the order of due_at
    assert differences(Account, mongo) == []
    settle()
    assert differences(Account, mongo) == []


def test_a_settling_delete_keeps_the_document_of_a_recreated_row(mongo: Database) -> None:
    account = Account.objects.create(account_id=1, limit=1)
    pk = account.pk
    account.delete()
    Relay().drain()
    assert Change.objects.get().settling
    Account.objects.create(id=pk, account_id=2, limit=2)
    Relay().drain()
    settle()
    assert mongo.accounts.find_one()["limit"] == 2


# --- the target fails -----------------------------------------------------------------------------------------------


def test_an_unreachable_target_costs_no_attempt_and_loses_nothing(
    mongo: Database, mongod: Mongo, settings: Any
) -> None:
    settings.SYNC_MAX_ATTEMPTS = 2
    Account.objects.bulk_create([make(number) for number in range(5)])
    mongod.kill()
    for _ in range(3):
        with pytest.raises(Unavailable):
            Relay().drain()
    assert list(Change.objects.values_list("attempts", "failed", "claim").distinct()) == [(0, False, "")]
    mongod.start()
    Relay().drain()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_a_change_that_exhausts_its_attempts_fails_and_can_be_retried(mongo: Database, settings: Any) -> None:
    settings.SYNC_MAX_ATTEMPTS = 2
    Account.objects.bulk_create([make(number) for number in range(5)])
    mongo.command("collMod", "accounts", validator={"account_id": {"$ne": 3}})
    try:
        for _ in range(3):
            Relay().drain()
            hurry()
        [dead] = Change.objects.all()
        assert (dead.attempts, dead.failed) == (2, True)
        assert mongo.accounts.count_documents({}) == 4
    finally:
        mongo.command("collMod", "accounts", validator={})
    call_command("sync", "retry")
    Relay().drain()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


# --- locks ----------------------------------------------------------------------------------------------------------


def test_a_locked_row_is_delivered_in_its_last_committed_state(mongo: Database) -> None:
    account = Account.objects.create(account_id=1, limit=1)
    with uncommitted(lambda: Account.objects.filter(pk=account.pk).update(limit=2)):
        Relay().drain()  # does not wait for the lock
        assert mongo.accounts.find_one()["limit"] == 1
    Relay().drain()
    assert mongo.accounts.find_one()["limit"] == 2
    assert not Change.objects.exists()


# --- relays come and go ---------------------------------------------------------------------------------------------


def test_claimed_changes_cannot_be_claimed_again_before_the_lease_expires(mongo: Database) -> None:
    Account.objects.create(account_id=1, limit=1)
    assert len(Change.objects.due().claim(10, "first")) == 1
    assert Change.objects.due().claim(10, "second") == []
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 0
    hurry()  # the lease has expired
    assert len(Change.objects.due().claim(10, "second")) == 1


def test_a_lease_expires_by_the_databases_clock(mongo: Database, settings: Any) -> None:
    settings.SYNC_LEASE = 0.5
    Account.objects.create(account_id=1, limit=1)
    assert len(Change.objects.due().claim(10, "gone")) == 1
    deadline = time.monotonic() + 30
    while Change.objects.exists() and time.monotonic() < deadline:
        Relay().drain()
        time.sleep(0.1)
    assert differences(Account, mongo) == []


def test_a_write_of_a_relay_after_its_lease_is_harmless(mongo: Database) -> None:
    """The relay was frozen past its lease. Another one delivered its changes, and the row has changed again since."""
    from sync.outbox.delivery import deliver_changes

    account = Account.objects.create(account_id=1, limit=1)
    claimed = Change.objects.due().claim(10, "frozen")
    hurry()
    Relay().drain()
    account.limit = 2
    account.save()
    deliver_changes(claimed, "frozen", "default")
    assert Change.objects.count() == 1, "it must not remove the newer change"
    Relay().drain()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_relays_join_and_leave_and_every_key_is_delivered(mongo: Database) -> None:
    count = 400
    Account.objects.bulk_create([make(number) for number in range(count)])
    relays = [Relay(batch=7) for _ in range(3)]
    delivered: list[int] = []

    def work(relay: Relay) -> None:
        try:
            delivered.append(sum(relay.drain(lambda keys: leave(relay)).values()))
        finally:
            connections.close_all()

    def leave(relay: Relay) -> None:
        if relay is relays[0] and len(threads) == 2:
            threads.append(threading.Thread(target=work, args=[relays[2]]))
            threads[2].start()  # joins during the delivery
            relay.stop.set()  # this one stops

    threads = [threading.Thread(target=work, args=[relay]) for relay in relays[:2]]
    for thread in threads:
        thread.start()
    threads[0].join()
    for thread in threads:
        thread.join()
    assert sum(delivered) >= count
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


def test_a_relay_that_is_stopped_finishes_its_batch(mongo: Database) -> None:
    Account.objects.bulk_create([make(number) for number in range(3000)], batch_size=500)
    with manage("sync", "relay", "--batch", "20", "--threads", "1") as relay:
        relay.until(lambda: mongo.accounts.count_documents({}))
        assert relay.terminate() == 0
    there = mongo.accounts.count_documents({})
    assert 0 < there < 3000, "it was stopped during the delivery"
    assert Change.objects.count() == 3000 - there, "only undelivered changes are left"
    Relay().drain()
    assert differences(Account, mongo) == []


# --- backfill during live traffic ----------------------------------------------------------------------------------


def test_the_ranges_of_a_killed_backfill_are_delivered_after_their_lease(mongo: Database, monkeypatch: Any) -> None:
    monkeypatch.setattr(backfill, "RANGE", 40)
    Account.objects.bulk_create([make(number) for number in range(250)])
    Change.objects.all().delete()
    backfill.plan(Target(Account))
    assert len(Change.objects.due(ranges=True).claim(3, "killed")) == 3
    Relay().drain()
    assert backfill.left() == 3
    hurry()
    Relay().drain()
    assert differences(Account, mongo) == []


def test_live_writes_and_deletes_prevail_over_a_backfill(mongo: Database, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(backfill, "RANGE", 40)
    Account.objects.bulk_create([make(number) for number in range(250)])
    Change.objects.all().delete()
    settings.SYNC_INLINE = True
    stop = threading.Event()

    def live() -> None:
        number = 0
        try:
            while not stop.is_set() and number < 200:  # some of the 250 rows remain, however slow the backfills are
                number += 1
                Account.objects.filter(account_id=number * 7 % 250).update(limit=number)
                Account.objects.filter(account_id=number * 11 % 250).delete()
        finally:
            connections.close_all()

    writer = threading.Thread(target=live)
    writer.start()
    try:
        for _ in range(3):
            backfill.plan(Target(Account))
            Relay().drain()
    finally:
        stop.set()
        writer.join()
    settle()
    assert 0 < len(rows(Account)) < 250
    assert differences(Account, mongo) == []


def test_a_backfill_does_not_restore_a_row_that_is_deleted_meanwhile(mongo: Database, monkeypatch: Any) -> None:
    """A row is deleted and its delete delivered after a range is read and before it is written."""
    from sync.outbox import mongo_writer

    Account.objects.bulk_create([make(number) for number in range(3)])
    Relay().drain()
    backfill.plan(Target(Account))
    send = mongo_writer.Writes.send

    def deleted_meanwhile(batch: Any, target: Target, majority: bool) -> None:
        monkeypatch.setattr(mongo_writer.Writes, "send", send)
        Account.objects.filter(account_id=1).delete()
        assert Relay().drain()[State.DELETED] == 1
        send(batch, target, majority)

    monkeypatch.setattr(mongo_writer.Writes, "send", deleted_meanwhile)
    Relay().drain()
    settle()
    assert sorted(document["account_id"] for document in mongo.accounts.find()) == [0, 2]
