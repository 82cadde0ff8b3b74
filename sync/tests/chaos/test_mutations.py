"""Mutations that random schedules may take long to catch: each does harm in one fixed order of events.

Each test runs twice: without the mutation the mirror ends in sync with its rows, with the mutation it does not.
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
from sync.tests.support.mutating import apply_mutation, mutated  # noqa: F401  (a fixture)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
SETTLE = 1.0


@pytest.fixture
def account(mongo: Database[dict[str, Any]], settings: Any) -> Account:
    """Return an account that a relay has delivered."""
    settings.SYNC_INLINE = False
    settings.SYNC_LEASE, settings.SYNC_SETTLE = SETTLE - 0.2, SETTLE
    settings.SYNC_TIMEOUT = 5.0  # a busy machine must not count as an unreachable server
    account = Account.objects.create(account_id=1, limit=1)
    Relay().drain()
    return account


@pytest.mark.parametrize("mutation", mutations.MUTATIONS)
def test_each_mutation_changes_existing_code(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this test, moving a name would silently make a mutation harmless."""
    changed: list[str] = []
    monkeypatch.setattr(mutations, "put", lambda owner, name, value: changed.append(name))
    mutations.apply(mutation)
    assert changed


def settle() -> None:
    """Let all deletes settle, so that no change is left that could repair a document later."""
    time.sleep(SETTLE + 0.1)
    Relay().drain()
    assert not Change.objects.exists()


@mutated("lost-race-dropped")
def test_a_lost_race_that_is_dropped_leaves_a_stale_document(
    mutation: str, account: Account, mongo: Database, monkeypatch: Any, apply: Any
) -> None:
    """A relay has read the new row, but another relay that has read the old row writes first."""
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
    read_versions = mongo_writer.read_versions
    done = []

    def interrupted(*arguments: Any) -> Any:
        if not done:
            done.append(True)
            Account.objects.filter(pk=account.pk).update(limit=3)
            Relay().drain()
        return read_versions(*arguments)

    apply(mutation)
    monkeypatch.setattr(mongo_writer, "read_versions", interrupted)
    Relay().drain()
    assert done
    assert not Change.objects.exists()
    assert bool(differences(Account, mongo)) == bool(mutation)


@pytest.fixture
def about_to_insert(account: Account, mongo: Database, monkeypatch: Any, apply: Any) -> Callable[..., None]:
    """A relay is about to insert a document, with a mutation, when its row is deleted and something happens."""

    def now(mutation: str, *events: Callable[[], object]) -> None:
        Account.objects.filter(pk=account.pk).update(limit=2)
        mongo.accounts.delete_many({})
        apply(mutation)
        between_row_and_write(monkeypatch, lambda: [event() for event in (Account.objects.all().delete, *events)])

    return now


@mutated("settling-off")
def test_a_delete_that_does_not_settle_is_undone_by_a_slow_insert(
    mutation: str, mongo: Database, about_to_insert: Any
) -> None:
    """A relay is about to insert when the row is deleted, and another relay finds neither row nor document."""
    about_to_insert(mutation, lambda: Relay().drain())
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 1, (
        "the slow insert has restored the document, until the delete settles"
    )
    settle()
    assert mongo.accounts.count_documents({}) == (1 if mutation else 0)


@mutated("deadline-off")
def test_an_insert_without_a_deadline_undoes_a_delete_that_has_settled(
    mutation: str, account: Account, mongo: Database, about_to_insert: Any
) -> None:
    """A relay is frozen right before it inserts, for longer than a delete takes to settle."""
    about_to_insert(mutation, lambda: Relay().drain(), settle)
    mongo_writer.deliver(Target(Account), [account.pk], "default", "a token")
    Relay().drain()
    assert not Change.objects.exists()
    assert mongo.accounts.count_documents({}) == (1 if mutation else 0)
