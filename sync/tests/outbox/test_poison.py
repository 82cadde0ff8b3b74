"""One row in a hundred cannot be delivered: each is parked with its reason, and all others are delivered at once."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pymongo.database import Database

from finance.models import Account
from sync.outbox import mongo_writer
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.hurry import hurry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ROWS = 600
UNMAPPABLE, UNREADABLE, REFUSED = (3, 407), (101, 502), (250, 599)


@pytest.fixture
def poisoned(mongo: Database, settings: Any) -> Iterator[None]:
    """Of these rows BSON cannot hold two, two cannot be read, and MongoDB refuses two; all are to be delivered."""
    settings.SYNC_INLINE = False
    settings.SYNC_MAX_ATTEMPTS = 2
    settings.SYNC_TIMEOUT, settings.SYNC_LEASE, settings.SYNC_SETTLE = 20, 60, 90
    Account.objects.bulk_create([make(number) for number in range(ROWS)])
    spoil(UNMAPPABLE, f"[{2**64}]")
    spoil(UNREADABLE, '[{"$oid": "none"}]')
    if "accounts" not in mongo.list_collection_names():
        mongo.create_collection("accounts")
    mongo.command("collMod", "accounts", validator={"account_id": {"$nin": REFUSED}})
    yield
    mongo.command("collMod", "accounts", validator={})


def spoil(numbers: tuple[int, ...], products: str) -> None:
    """Puts into these rows what no ORM would."""
    with connection.cursor() as cursor:
        sql = "UPDATE finance_account SET products = %s WHERE account_id IN (%s, %s)"
        cursor.execute(sql, [products, *numbers])


def test_each_is_parked_with_its_reason_and_all_others_are_delivered(poisoned: None, mongo: Database) -> None:
    Relay().drain()
    assert mongo.accounts.count_documents({}) == ROWS - 6, "the first try of all has delivered the others"
    for _ in range(2):
        hurry()
        Relay().drain()
    numbers = dict(Account.objects.defer("products").values_list("pk", "account_id"))
    parked = {numbers[change.key]: change for change in Change.objects.all()}
    assert set(parked) == {*UNMAPPABLE, *UNREADABLE, *REFUSED}
    assert all(change.failed and change.attempts == 2 for change in parked.values())
    for bad, words in [
        (UNMAPPABLE, "8-byte"), (UNREADABLE, "not a valid ObjectId"), (REFUSED, "failed validation"),
    ]:  # fmt: skip
        assert [words in parked[number].error for number in bad] == [True, True]
    call_command("sync", "retry")
    Relay().drain()
    assert Change.objects.filter(failed=False, attempts=1).count() == 6, "nothing is fixed yet"
    spoil(UNMAPPABLE, "[]")
    spoil(UNREADABLE, "[]")
    mongo.command("collMod", "accounts", validator={})
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
