"""A row that cannot be delivered is retried, then becomes a dead letter with the reason; other rows are delivered."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pymongo.database import Database

from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.monitoring.status import status
from sync.outbox import mongo_writer
from sync.outbox.failures import Failures, failures
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


def refuse(mongo: Database, *numbers: int) -> None:
    """Make MongoDB reject these account numbers, and no others."""
    mongo.command("collMod", "accounts", validator={"account_id": {"$nin": numbers}})


@pytest.fixture
def refused(mongo: Database) -> Iterator[None]:
    """Makes MongoDB reject account 13."""
    if "accounts" not in mongo.list_collection_names():
        mongo.create_collection("accounts")
    refuse(mongo, 13)
    yield
    mongo.command("collMod", "accounts", validator={})


def reasons(model: str = "finance.account") -> list[Failures]:
    """The classes of failures that status counts."""
    return failures("default")[model]


# --- one row ----------------------------------------------------------------------------------------------------------


def test_a_row_is_delivered_once_the_cause_is_fixed(mongo: Database, refused: None) -> None:
    make(13).save()
    Relay().drain()
    assert "Document failed validation" in Change.objects.get().error
    refuse(mongo, 14)
    hurry()
    Relay().drain()
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("inline", [False, True])
def test_saving_a_corrected_row_delivers_its_dead_letter(
    mongo: Database, refused: None, settings: Any, inline: bool
) -> None:
    bad = make(13)
    bad.save()
    for attempt in range(1, 4):
        Relay().drain()
        change = Change.objects.get()
        assert (change.attempts, change.failed) == (attempt, attempt == 3)
        hurry()
    Relay().drain()
    assert Change.objects.get().attempts == 3, "no further attempt"
    settings.SYNC_INLINE = inline
    make(12).save()  # the delivery of another row does not affect it
    hurry()
    Relay().drain()
    assert Change.objects.get().failed

    bad.account_id = 15
    bad.save()
    hurry()
    Relay().drain()
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


def test_to_document_can_raise_any_error(mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SYNC_MAX_ATTEMPTS = 1
    Account.objects.bulk_create([make(1), make(2)])
    to_document = Account.to_document

    def picky(account: Account) -> dict:
        return to_document(account) if account.account_id == 1 else {}["no such key"]

    monkeypatch.setattr(Account, "to_document", picky)
    Relay().drain()
    assert Change.objects.get().error == "KeyError: 'no such key'"
    assert reasons() == [Failures("cannot be mapped", 1, 0, 1)]
    assert mongo.accounts.count_documents({}) == 1


def test_the_error_reports_a_document_over_16_mb(mongo: Database) -> None:
    big = make(1, products=["x" * 17_000_000])
    Account.objects.bulk_create([big, make(2)])
    Relay().drain()
    assert "MongoDB holds 16,777,216" in Change.objects.get().error
    assert reasons() == [Failures("too large", 0, 1, 1)]
    assert mongo.accounts.count_documents({}) == 1


def test_the_error_reports_a_removed_model(mongo: Database) -> None:
    Change.objects.create(model="finance.forgotten", key="1", due_at=DatabaseNow())
    make(1).save()
    Relay().drain()
    assert "the target finance.forgotten no longer exists" in Change.objects.get().error
    assert reasons("finance.forgotten") == [Failures("target is gone", 0, 1, 1)]
    gone = status().models[-1]
    assert (gone.model, gone.rows, gone.documents, gone.pending) == ("finance.forgotten", None, None, 1)
    assert mongo.accounts.count_documents({}) == 1


def test_the_error_reports_an_invalid_key(mongo: Database) -> None:
    Change.objects.create(model="finance.account", key="not hex", due_at="2020-01-01T00:00Z")
    Relay().drain()
    assert "not a valid ObjectId" in Change.objects.get().error


# --- one bad row in a hundred -----------------------------------------------------------------------------------------

ROWS = 600
UNMAPPABLE, UNREADABLE, REFUSED = (3, 407), (101, 502), (250, 599)


@pytest.fixture
def poisoned(refused: None, mongo: Database, settings: Any) -> None:
    """600 pending rows: two cannot be stored as BSON, two cannot be read, and MongoDB rejects two."""
    settings.SYNC_MAX_ATTEMPTS = 2
    settings.SYNC_TIMEOUT, settings.SYNC_LEASE, settings.SYNC_SETTLE = 20, 60, 90
    Account.objects.bulk_create([make(number) for number in range(ROWS)])
    spoil(UNMAPPABLE, f"[{2**64}]")
    spoil(UNREADABLE, '[{"$oid": "none"}]')
    refuse(mongo, *REFUSED)


def spoil(numbers: tuple[int, ...], products: str) -> None:
    """Write a value into these rows that the ORM would not write."""
    with connection.cursor() as cursor:
        sql = "UPDATE finance_account SET products = %s WHERE account_id IN (%s, %s)"
        cursor.execute(sql, [products, *numbers])


def test_each_is_a_dead_letter_with_its_reason_and_all_others_are_delivered(poisoned: None, mongo: Database) -> None:
    Relay().drain()
    assert mongo.accounts.count_documents({}) == ROWS - 6, "the first attempt delivers the others"
    assert reasons() == [Failures("cannot be mapped", 0, 4, 4), Failures("rejected by MongoDB", 0, 2, 2)]
    for _ in range(2):
        hurry()
        Relay().drain()
    numbers = dict(Account.objects.defer("products").values_list("pk", "account_id"))
    dead = {numbers[change.key]: change for change in Change.objects.all()}
    assert set(dead) == {*UNMAPPABLE, *UNREADABLE, *REFUSED}
    assert all(change.failed and change.attempts == 2 for change in dead.values())
    for bad, words in [
        (UNMAPPABLE, "8-byte"), (UNREADABLE, "not a valid ObjectId"), (REFUSED, "failed validation"),
    ]:  # fmt: skip
        assert [words in dead[number].error for number in bad] == [True, True]
    call_command("sync", "retry")
    Relay().drain()
    assert Change.objects.filter(failed=False, attempts=1).count() == 6, "the causes still exist"
    spoil(UNMAPPABLE, "[]")
    spoil(UNREADABLE, "[]")
    refuse(mongo)
    call_command("sync", "retry", "--all")
    Relay().drain()
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


def test_a_batch_with_bad_rows_is_one_delivery(
    poisoned: None, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    deliver = mongo_writer._deliver

    def counted(target: Any, keys: Any, *arguments: Any) -> Any:
        sizes.append(len(keys))
        return deliver(target, keys, *arguments)

    monkeypatch.setattr(mongo_writer, "_deliver", counted)
    Relay(batch=ROWS).drain()
    assert mongo.accounts.count_documents({}) == ROWS - 6
    assert sizes == [ROWS], "only the reading is split, not the delivery"
