"""Every way to change a row with the ORM is captured: document and row match right after the commit."""

import datetime
from collections.abc import Callable
from typing import Any

import bson
import pytest
from bson import Int64
from django.core import serializers
from django.core.management import call_command
from django.db import transaction
from django.db.models import F
from pymongo.database import Database

from finance.models import Account, Transaction
from sync.outbox.models import Change
from sync.tests.support.compare import differences, rows
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


def save(accounts: list[Account]) -> None:
    accounts[0].limit = 7
    accounts[0].save()


def save_update_fields(accounts: list[Account]) -> None:
    accounts[0].limit = 7
    accounts[0].save(update_fields=["limit"])


def save_expression(accounts: list[Account]) -> None:
    accounts[0].limit = F("limit") + 1
    accounts[0].save()


def save_a_locked_row(accounts: list[Account]) -> None:
    with transaction.atomic():
        account = Account.objects.select_for_update().get(pk=accounts[1].pk)
        account.limit = 70
        account.save()


def save_a_row_with_deferred_fields(accounts: list[Account]) -> None:
    account = Account.objects.only("account_id").get(pk=accounts[1].pk)
    account.account_id = 71
    account.save()


def create(accounts: list[Account]) -> None:
    Account.objects.create(account_id=10, limit=1, products=[])


def get_or_create(accounts: list[Account]) -> None:
    Account.objects.get_or_create(account_id=11, defaults={"limit": 1})


def update_or_create(accounts: list[Account]) -> None:
    Account.objects.update_or_create(account_id=1, defaults={"limit": 8})
    Account.objects.update_or_create(account_id=12, defaults={"limit": 9})


def update(accounts: list[Account]) -> None:
    Account.objects.filter(account_id__gte=1).update(limit=F("limit") * 2)


def update_that_changes_the_filtered_field(accounts: list[Account]) -> None:
    assert Account.objects.filter(account_id=1).update(account_id=99) == 1


def update_with_the_base_manager(accounts: list[Account]) -> None:
    Account._base_manager.update(limit=3)


def bulk_create(accounts: list[Account]) -> None:
    Account.objects.bulk_create([make(number) for number in range(20, 25)])


def bulk_create_ignoring_conflicts(accounts: list[Account]) -> None:
    Account.objects.bulk_create([make(21), Account(id=accounts[0].id, account_id=5, limit=5)], ignore_conflicts=True)


def bulk_create_updating_conflicts(accounts: list[Account]) -> None:
    fields = ["account_id", "limit", "products"]
    from django.db import connection

    unique = ["id"] if connection.features.supports_update_conflicts_with_target else None
    Account.objects.bulk_create(
        [make(22), Account(id=accounts[0].id, account_id=5, limit=5)],
        update_conflicts=True, update_fields=fields, unique_fields=unique,
    )  # fmt: skip


def bulk_update(accounts: list[Account]) -> None:
    for account in accounts:
        account.limit = account.account_id * 100
    Account.objects.bulk_update(accounts, ["limit"])


def delete(accounts: list[Account]) -> None:
    accounts[0].delete()


def queryset_delete(accounts: list[Account]) -> None:
    Account.objects.filter(account_id__lt=2).delete()


def loaddata(accounts: list[Account], tmp_path: Any = None) -> None:
    accounts[0].limit = 77
    fixture = tmp_path / "accounts.json"
    fixture.write_text(serializers.serialize("json", [accounts[0], make(31)]))
    call_command("loaddata", fixture, verbosity=0)


def deserialized_save_outside_a_transaction(accounts: list[Account]) -> None:
    accounts[1].limit = 78
    for loaded in serializers.deserialize("json", serializers.serialize("json", [accounts[1]])):
        loaded.save()


def nested_savepoints(accounts: list[Account]) -> None:
    with transaction.atomic():
        save(accounts)
        with transaction.atomic():
            update_or_create(accounts)
            with transaction.atomic():
                accounts[2].delete()


WRITES: list[Callable[..., None]] = [
    save, save_update_fields, save_expression, save_a_locked_row, save_a_row_with_deferred_fields, create,
    get_or_create, update_or_create, update, update_that_changes_the_filtered_field, update_with_the_base_manager,
    bulk_create, bulk_create_ignoring_conflicts, bulk_create_updating_conflicts, bulk_update, delete, queryset_delete,
    deserialized_save_outside_a_transaction, nested_savepoints,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_document_and_row_match_right_after_the_commit(
    write: Callable[..., None], accounts: list[Account], mongo: Database
) -> None:
    before = rows(Account)
    write(accounts)
    assert rows(Account) != before
    assert differences(Account, mongo) == []
    confirm()
    assert differences(Account, mongo) == []
    assert not Change.objects.filter(settling=False).exists()


def test_loaddata_is_captured(accounts: list[Account], mongo: Database, tmp_path: Any) -> None:
    loaddata(accounts, tmp_path)
    assert mongo.accounts.count_documents({"limit": 77}) == 1
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("write", WRITES)
def test_a_rolled_back_transaction_never_reaches_mongodb(
    write: Callable[..., None], accounts: list[Account], mongo: Database
) -> None:
    before = list(mongo.accounts.find().sort("_id"))
    with transaction.atomic():
        write(accounts)
        transaction.set_rollback(True)
    assert list(mongo.accounts.find().sort("_id")) == before
    assert not Change.objects.exists()


@pytest.mark.parametrize("write", WRITES)
def test_a_rolled_back_savepoint_never_reaches_mongodb(
    write: Callable[..., None], accounts: list[Account], mongo: Database
) -> None:
    with transaction.atomic():
        Account.objects.create(account_id=555, limit=5)
        with transaction.atomic():
            write(accounts)
            transaction.set_rollback(True)
        Account.objects.create(account_id=556, limit=5)
    assert sorted(d["account_id"] for d in mongo.accounts.find()) == [0, 1, 2, 555, 556]
    assert differences(Account, mongo) == []
    confirm()
    assert not Change.objects.exists()


def test_all_changes_of_a_transaction_are_delivered_at_its_commit(mongo: Database) -> None:
    with transaction.atomic():
        for number in range(50):
            Account.objects.update_or_create(account_id=number, defaults={"limit": 1})
            assert mongo.accounts.count_documents({}) == 0
    assert mongo.accounts.count_documents({}) == 50


def test_updating_the_primary_key_is_rejected(accounts: list[Account]) -> None:
    with pytest.raises(ValueError, match="primary key"):
        Account.objects.filter(account_id=1).update(pk="5ca4bbc7a2dd94ee5816238c")


def test_more_keys_than_the_limit_are_left_to_the_relay(mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE_MAX_KEYS = 5
    Account.objects.bulk_create([make(number) for number in range(6)])
    assert mongo.accounts.count_documents({}) == 0
    assert Change.objects.filter(claim="").count() == 6


def test_a_fixture_keeps_the_types_inside_a_document(mongo: Database) -> None:
    moment = datetime.datetime(1969, 2, 3, 4, 5, 6, 789000, tzinfo=datetime.UTC)
    trades = [{"date": moment, "amount": Int64(5), "total": "1.50", "nothing": {}}]
    dates = {"bucket_start_date": moment, "bucket_end_date": moment}
    Transaction.objects.create(account_id=1, transaction_count=1, transactions=trades, **dates)
    before = mongo.transactions.find_one({}, {"_sync": 0})
    fixture = serializers.serialize("json", Transaction.objects.all())
    Transaction.objects.all().delete()
    for loaded in serializers.deserialize("json", fixture):
        loaded.save()
    after = mongo.transactions.find_one({}, {"_sync": 0})
    assert bson.encode(before) == bson.encode(after)
    assert type(after["transactions"][0]["amount"]) is Int64
