"""A save that is a transaction by itself reads the document's version while it commits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

import pytest
from bson import Int64, ObjectId
from django.db import connection, transaction
from pymongo.database import Database

from finance.models import Account
from sync.outbox import mongo_writer, versions
from sync.outbox.models import Change
from sync.tests.support.compare import differences

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def account(mongo: Database) -> Account:
    return Account.objects.create(account_id=1, limit=1, products=[])


@pytest.fixture
def aheads(monkeypatch: pytest.MonkeyPatch) -> list[versions.ReadAhead]:
    """What was read ahead during the test."""
    made = []

    class Noted(versions.ReadAhead):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(mongo_writer, "ReadAhead", Noted)
    return made


@contextmanager
def between_reading_and_commit(aheads: list[versions.ReadAhead], act: Any) -> Iterator[None]:
    """Calls `act` after the version was read ahead, and before the transaction commits."""
    done = []

    def interrupt(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if aheads and not done:
            wait([aheads[0].reading])
            done.append(act())
        return result

    with connection.execute_wrapper(interrupt):
        yield
    assert done


def read_after_commit(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The ids whose versions are read when deliveries start."""
    read: list[list[Any]] = []

    def noted(target: Any, ids: Any) -> Any:
        read.append(list(ids))
        return versions.read_versions(target, ids)

    monkeypatch.setattr(mongo_writer, "read_versions", noted)
    return read


def test_a_single_save_reads_no_version_after_its_commit(
    account: Account, mongo: Database, aheads: list[versions.ReadAhead], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_after_commit(monkeypatch)
    with between_reading_and_commit(aheads, lambda: None):
        account.limit = 2
        account.save()
    assert [ahead.ids for ahead in aheads] == [[ObjectId(account.pk)]]
    assert read == [[]]
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("existed", [True, False])
def test_a_document_that_changes_after_it_was_read_ahead_is_read_again(
    account: Account, mongo: Database, aheads: list[versions.ReadAhead], existed: bool
) -> None:
    if not existed:
        mongo.accounts.delete_many({})
    key, other = {"_id": ObjectId(account.pk)}, {"$set": {"limit": 9, "_sync": {"v": Int64(7), "by": "another"}}}
    with between_reading_and_commit(aheads, lambda: mongo.accounts.update_one(key, other, upsert=True)):
        account.limit = 2
        account.save()
    assert mongo.accounts.find_one(key)["limit"] == 2
    assert differences(Account, mongo) == []


def test_a_document_that_is_deleted_after_it_was_read_ahead_is_inserted(
    account: Account, mongo: Database, aheads: list[versions.ReadAhead]
) -> None:
    with between_reading_and_commit(aheads, lambda: mongo.accounts.delete_many({})):
        account.limit = 2
        account.save()
    assert differences(Account, mongo) == []


def test_a_deletion_reads_ahead_too(account: Account, mongo: Database, aheads: list[versions.ReadAhead]) -> None:
    account.delete()
    assert len(aheads) == 1
    assert mongo.accounts.count_documents({}) == 0


def test_a_longer_transaction_reads_when_it_is_delivered(
    account: Account, mongo: Database, aheads: list[versions.ReadAhead]
) -> None:
    """It may be open for long, or be rolled back: it asks MongoDB nothing before it commits."""
    with transaction.atomic():
        account.limit = 2
        account.save()
    assert aheads == []
    assert differences(Account, mongo) == []


def test_no_version_is_read_ahead_without_inline_delivery(
    account: Account, aheads: list[versions.ReadAhead], settings: Any
) -> None:
    settings.SYNC_INLINE = False
    account.save()
    assert aheads == []
    assert Change.objects.exists()


def test_more_saves_than_threads_deliver_all_the_same(
    account: Account, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading that has not begun when the delivery starts is cancelled."""

    class Busy:
        def submit(self, *_: Any) -> Any:
            return Future()

    monkeypatch.setattr(versions, "_threads", Busy)
    account.limit = 2
    account.save()
    assert differences(Account, mongo) == []
