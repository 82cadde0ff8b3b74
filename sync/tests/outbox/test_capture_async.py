"""The ORM's async methods are captured too: document and row match right after the commit."""

from collections.abc import Awaitable, Callable

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from pymongo.database import Database

from finance.models import Account
from sync.tests.support.compare import differences, rows
from sync.tests.support.factories import make
from sync.tests.zoo.models import Animal, Keeper, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


async def asave(accounts: list[Account]) -> None:
    accounts[0].limit = 7
    await accounts[0].asave()


async def asave_update_fields(accounts: list[Account]) -> None:
    accounts[0].limit = 7
    await accounts[0].asave(update_fields=["limit"])


async def acreate(accounts: list[Account]) -> None:
    await Account.objects.acreate(account_id=10, limit=1)


async def aget_or_create(accounts: list[Account]) -> None:
    await Account.objects.aget_or_create(account_id=11, defaults={"limit": 1})


async def aupdate_or_create(accounts: list[Account]) -> None:
    await Account.objects.aupdate_or_create(account_id=1, defaults={"limit": 8})
    await Account.objects.aupdate_or_create(account_id=12, defaults={"limit": 9})


async def aupdate(accounts: list[Account]) -> None:
    await Account.objects.filter(account_id__gte=1).aupdate(limit=5)


async def abulk_create(accounts: list[Account]) -> None:
    await Account.objects.abulk_create([make(20), make(21)])


async def abulk_create_with_conflicts(accounts: list[Account]) -> None:
    unique = ["id"] if connection.features.supports_update_conflicts_with_target else None
    await Account.objects.abulk_create([Account(id=accounts[0].pk, account_id=0, limit=9)], ignore_conflicts=True)
    await Account.objects.abulk_create(
        [make(22), Account(id=accounts[0].pk, account_id=5, limit=5)],
        update_conflicts=True, update_fields=["account_id", "limit"], unique_fields=unique,
    )  # fmt: skip


async def abulk_update(accounts: list[Account]) -> None:
    for account in accounts:
        account.limit += 1
    await Account.objects.abulk_update(accounts, ["limit"])


async def adelete(accounts: list[Account]) -> None:
    await accounts[0].adelete()


async def queryset_adelete(accounts: list[Account]) -> None:
    await Account.objects.filter(account_id__lt=2).adelete()


async def save_rows_of_an_async_iterator(accounts: list[Account]) -> None:
    async for account in Account.objects.aiterator():
        account.limit += 1
        await account.asave()


WRITES = [
    asave, asave_update_fields, acreate, aget_or_create, aupdate_or_create, aupdate, abulk_create,
    abulk_create_with_conflicts, abulk_update, adelete, queryset_adelete, save_rows_of_an_async_iterator,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_document_and_row_match_right_after_the_commit(
    write: Callable[[list[Account]], Awaitable[None]], accounts: list[Account], mongo: Database
) -> None:
    before = rows(Account)
    async_to_sync(write)(accounts)
    assert rows(Account) != before
    assert differences(Account, mongo) == []


def test_async_methods_of_related_managers_are_captured(mongo: Database) -> None:
    async def write() -> None:
        keeper = await Keeper.objects.acreate(name="Ann")
        cat = await keeper.animal_set.acreate(name="cat")
        await keeper.patients.aadd(cat, bulk=True)
        tag = await cat.tags.acreate(name="old")
        await cat.tags.aset([tag])
        await cat.tags.aclear()

    async_to_sync(write)()
    keeper, animal, tag = Keeper.objects.get(), Animal.objects.get(), Tag.objects.get()
    assert mongo.zoo_keepers.count_documents({"name": "Ann"}) == 1
    assert str(mongo.zoo_animals.find_one({"name": "cat"})["vet_id"]) == keeper.pk == animal.vet_id
    assert mongo.zoo_tags.find_one({"_id": tag.pk})["name"] == "old"
