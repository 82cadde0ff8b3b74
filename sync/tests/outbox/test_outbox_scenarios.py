"""What goes wrong with tables of pending changes elsewhere, one named test each: order, failure, locks, and relays."""

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
    """Nothing is delivered inline: every change waits for a relay. Leases end when a test says so."""
    settings.SYNC_INLINE = False
    settings.SYNC_LEASE, settings.SYNC_SETTLE = 60, 90


@contextmanager
def uncommitted(work: Callable[[], Any]) -> Iterator[None]:
    """Within, `work` is done in a transaction of another connection that is still open; committed at the end."""
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
    """Delivers all there is, confirms what was delivered inline, and lets deletes settle."""
    for _ in range(3):
        Relay().drain()
        hurry()
    assert not Change.objects.exists()


# --- order ----------------------------------------------------------------------------------------------------------


def test_a_change_that_becomes_visible_after_later_ones_is_delivered(mongo: Database) -> None:
    with uncommitted(lambda: Account.objects.create(account_id=1, limit=1)):
        later = Account.objects.create(account_id=2, limit=2)
        Relay().drain()
        assert [document["_id"] for document in mongo.accounts.find()] == [ObjectId(later.pk)]
    assert Change.objects.count() == 1, "it was begun before, and is seen only now"
    Relay().drain()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_ids_in_the_wrong_order_leave_the_newest_state(mongo: Database) -> None:
    """The ids of changes are made by clients, whose clocks differ; they order nothing."""
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
def test_delete_and_create_again_in_both_orders(
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
    Relay(batch=1).drain()  # one change after the other, in the order of due_at
    assert differences(Account, mongo) == []
    settle()
    assert differences(Account, mongo) == []


def test_a_delete_that_settles_spares_the_row_that_has_come_back(mongo: Database) -> None:
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


def test_a_target_that_is_away_costs_no_attempt_and_loses_nothing(
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


def test_a_row_that_exhausts_its_attempts_is_parked_and_comes_back_by_retry(mongo: Database, settings: Any) -> None:
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


def test_changes_that_somebody_has_locked_hold_up_no_others(mongo: Database) -> None:
    locked, free = Account.objects.bulk_create([make(1), make(2)])
    changes = Change.objects.filter(key=locked.pk).select_for_update()
    with uncommitted(lambda: list(changes)):
        Relay().drain()
        assert [str(document["_id"]) for document in mongo.accounts.find()] == [free.pk]
        assert Change.objects.get().key == locked.pk
    Relay().drain()
    assert differences(Account, mongo) == []


def test_a_row_that_the_application_has_locked_is_delivered_as_it_was_committed(mongo: Database) -> None:
    account = Account.objects.create(account_id=1, limit=1)
    with uncommitted(lambda: Account.objects.filter(pk=account.pk).update(limit=2)):
        Relay().drain()  # waits for no lock
        assert mongo.accounts.find_one()["limit"] == 1
    Relay().drain()
    assert mongo.accounts.find_one()["limit"] == 2
    assert not Change.objects.exists()


# --- relays come and go ---------------------------------------------------------------------------------------------


def test_claimed_changes_are_nobody_elses_until_the_lease_ends(mongo: Database) -> None:
    Account.objects.create(account_id=1, limit=1)
    assert len(Change.objects.due().claim(10, "first")) == 1
    assert Change.objects.due().claim(10, "second") == []
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 0
    hurry()  # the lease is over
    assert len(Change.objects.due().claim(10, "second")) == 1


def test_a_lease_ends_by_the_databases_clock(mongo: Database, settings: Any) -> None:
    settings.SYNC_LEASE = 0.5
    Account.objects.create(account_id=1, limit=1)
    assert len(Change.objects.due().claim(10, "gone")) == 1
    deadline = time.monotonic() + 30
    while Change.objects.exists() and time.monotonic() < deadline:
        Relay().drain()
        time.sleep(0.1)
    assert differences(Account, mongo) == []


def test_what_an_expired_relay_still_writes_harms_nothing(mongo: Database) -> None:
    """It was frozen past its lease: another has delivered its changes, and the row has changed again since."""
    from sync.outbox.delivery import deliver_changes

    account = Account.objects.create(account_id=1, limit=1)
    claimed = Change.objects.due().claim(10, "frozen")
    hurry()
    Relay().drain()
    account.limit = 2
    account.save()
    deliver_changes(claimed, "frozen", "default")
    assert Change.objects.count() == 1, "the newer change is not its own to remove"
    Relay().drain()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


def test_relays_join_and_leave_and_every_key_is_delivered_once(mongo: Database) -> None:
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
            threads[2].start()  # joins in the middle of it
            relay.stop.set()  # and this one leaves

    threads = [threading.Thread(target=work, args=[relay]) for relay in relays[:2]]
    for thread in threads:
        thread.start()
    threads[0].join()
    for thread in threads:
        thread.join()
    assert sum(delivered) == count
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


def test_a_relay_that_is_stopped_while_it_delivers_ends_its_batch_and_holds_nothing(mongo: Database) -> None:
    Account.objects.bulk_create([make(number) for number in range(3000)], batch_size=500)
    with manage("sync", "relay", "--batch", "20", "--threads", "1") as relay:
        relay.until(lambda: mongo.accounts.count_documents({}))
        assert relay.terminate() == 0
    there = mongo.accounts.count_documents({})
    assert 0 < there < 3000, "it was stopped in the middle"
    assert Change.objects.count() == 3000 - there, "what it has delivered is done, what it has not is still pending"
    assert not Change.objects.exclude(claim="").exists(), "and nobody has to wait for a lease"
    Relay().drain()
    assert differences(Account, mongo) == []


# --- backfill beside live traffic -----------------------------------------------------------------------------------


def test_a_killed_backfills_ranges_are_delivered_when_their_lease_ends(mongo: Database, monkeypatch: Any) -> None:
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


def test_live_writes_and_deletes_win_against_a_backfill(mongo: Database, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(backfill, "RANGE", 40)
    Account.objects.bulk_create([make(number) for number in range(250)])
    Change.objects.all().delete()
    settings.SYNC_INLINE = True
    stop = threading.Event()

    def live() -> None:
        number = 0
        try:
            while not stop.is_set() and number < 200:  # of 250 rows, some stay however slow the backfills are
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


def test_a_backfill_brings_back_nothing_that_is_deleted_meanwhile(mongo: Database, monkeypatch: Any) -> None:
    """The range is read; then a row is deleted and its delete delivered; then the range is written."""
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
