"""Mutations of the real code that chance may take long to catch, each shown to do harm in one fixed order of events.

Each story is told twice: the mirror as it is comes to rest equal to its rows, and with the mutation it does not.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest
from bson import Int64
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.outbox import mongo_writer
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.chaos import mutations
from sync.tests.support.compare import differences
from sync.tests.support.interleaving import between_row_and_write

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
SETTLE = 1.0


def mutated(name: str) -> Any:
    return pytest.mark.parametrize("mutation", ["", name])


@pytest.fixture
def account(mongo: Database[dict[str, Any]], settings: Any) -> Account:
    """One that is delivered, by relays only."""
    settings.SYNC_INLINE = False
    settings.SYNC_LEASE, settings.SYNC_SETTLE = SETTLE - 0.2, SETTLE
    settings.SYNC_TIMEOUT = 5.0  # a busy machine is no server that is out of reach
    account = Account.objects.create(account_id=1, limit=1)
    Relay().drain()
    return account


@pytest.fixture
def apply(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Applies a mutation to this process until the test ends."""

    def now(mutation: str) -> None:
        monkeypatch.setattr(mutations, "put", monkeypatch.setattr)
        if mutation:
            mutations.apply(mutation)

    return now


@pytest.mark.parametrize("mutation", mutations.MUTATIONS)
def test_what_a_mutation_changes_is_there(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has moved would make a mutation harmless, and nobody would notice."""
    changed: list[str] = []
    monkeypatch.setattr(mutations, "put", lambda owner, name, value: changed.append(name))
    mutations.apply(mutation)
    assert changed


def settle() -> None:
    """Lets all deletes settle: nothing is left that would fix anything later."""
    time.sleep(SETTLE + 0.1)
    Relay().drain()
    assert not Change.objects.exists()


@mutated("lost-race-dropped")
def test_a_lost_race_that_is_dropped_leaves_a_stale_document(
    mutation: str, account: Account, mongo: Database, monkeypatch: Any, apply: Any
) -> None:
    """A relay has read the new row when another one, which has read the old one, writes before it."""
    Account.objects.filter(pk=account.pk).update(limit=2)
    old_row = {"$set": {"limit": 1, "_sync.v": Int64(time.time_ns() // 1000 + 10**6)}}
    between_row_and_write(monkeypatch, lambda: mongo.accounts.update_one({}, old_row))
    apply(mutation)
    Relay().drain()
    assert not Change.objects.exists()
    assert bool(differences(Account, mongo)) == bool(mutation)


@mutated("row-before-version")
def test_a_row_read_before_the_version_leaves_a_stale_document(
    mutation: str, account: Account, mongo: Database, monkeypatch: Any, apply: Any
) -> None:
    """Right before a relay reads the version, the row changes and another relay delivers it."""
    Account.objects.filter(pk=account.pk).update(limit=2)
    read_versions = mongo_writer._read_versions
    done = []

    def interrupted(*arguments: Any) -> Any:
        if not done:
            done.append(True)
            Account.objects.filter(pk=account.pk).update(limit=3)
            Relay().drain()
        return read_versions(*arguments)

    apply(mutation)
    monkeypatch.setattr(mongo_writer, "_read_versions", interrupted)
    Relay().drain()
    assert done
    assert not Change.objects.exists()
    assert bool(differences(Account, mongo)) == bool(mutation)


@mutated("settling-off")
def test_a_delete_that_does_not_settle_is_undone_by_a_slow_insert(
    mutation: str, account: Account, mongo: Database, monkeypatch: Any, apply: Any
) -> None:
    """A relay is about to insert when the row is deleted, and another relay finds neither row nor document."""
    Account.objects.filter(pk=account.pk).update(limit=2)
    mongo.accounts.delete_many({})

    def deleted_meanwhile() -> None:
        Account.objects.all().delete()
        Relay().drain()

    apply(mutation)
    between_row_and_write(monkeypatch, deleted_meanwhile)
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 1, "put back, for now"
    settle()
    assert mongo.accounts.count_documents({}) == (1 if mutation else 0)


@mutated("deadline-off")
def test_an_insert_without_a_deadline_undoes_a_delete_that_has_settled(
    mutation: str, account: Account, mongo: Database, monkeypatch: Any, apply: Any
) -> None:
    """A relay is frozen right before it inserts, for longer than a delete takes to settle."""
    Account.objects.filter(pk=account.pk).update(limit=2)
    mongo.accounts.delete_many({})

    def deleted_meanwhile() -> None:
        Account.objects.all().delete()
        Relay().drain()
        settle()

    apply(mutation)
    between_row_and_write(monkeypatch, deleted_meanwhile)
    mongo_writer.deliver(Target(Account), [account.pk], "default", "a token")
    Relay().drain()
    assert not Change.objects.exists()
    assert mongo.accounts.count_documents({}) == (1 if mutation else 0)
