"""The limits of BSON: a document at a limit is delivered exactly, and one beyond it is refused with the reason."""

from typing import Any

import bson
import pytest
from bson import ObjectId
from pymongo.database import Database

from finance.models import Account
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.outbox.models import Change
from sync.outbox.mongo_writer import MAX_BSON_SIZE
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
MAX_DEPTH = 180  # levels of documents and arrays, the document itself included


@pytest.fixture(autouse=True)
def through_the_relay(mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = False
    settings.SYNC_TIMEOUT, settings.SYNC_LEASE, settings.SYNC_SETTLE = 20, 60, 90  # for large documents


def size(account: Account) -> int:
    """The size of its document in bytes, with the version and the token of 24 characters that delivery adds."""
    sync = {"v": bson.Int64(1), "by": "x" * 24}
    return len(bson.encode({**account.to_document(), "_sync": sync}, codec_options=CODEC_OPTIONS))


def fill(account: Account, wanted: int) -> None:
    """Makes its document exactly `wanted` bytes large."""
    account.products = [""]
    account.products = ["x" * (wanted - size(account))]
    assert size(account) == wanted


def drain() -> list[str]:
    """Runs a relay. Returns the errors of the changes that it could not deliver."""
    Relay().drain()
    return list(Change.objects.values_list("error", flat=True))


def test_the_largest_possible_document_is_inserted_and_replaced(mongo: Database) -> None:
    account = make(1)
    fill(account, MAX_BSON_SIZE)
    account.save()
    assert drain() == []
    [document] = mongo.accounts.aggregate([{"$project": {"size": {"$bsonSize": "$$ROOT"}}}])
    assert document["size"] == MAX_BSON_SIZE
    account.products = ["y" * len(account.products[0])]
    account.save()
    make(2).save()
    assert drain() == []
    assert mongo.accounts.find_one({"account_id": 1})["products"] == account.products
    account.delete()
    Relay().drain()
    assert [document["account_id"] for document in mongo.accounts.find()] == [2]


@pytest.mark.parametrize("there", [False, True], ids=["inserted", "replaced"])
def test_one_byte_more_is_refused_and_delays_no_other_change(there: bool, mongo: Database) -> None:
    account = make(1)
    if there:
        account.save()
        assert drain() == []
    fill(account, MAX_BSON_SIZE + 1)
    account.save()
    make(2).save()
    assert drain() == ["the document has 16,777,217 bytes; MongoDB holds 16,777,216"]
    assert mongo.accounts.count_documents({"account_id": 2}) == 1


def nested(levels: int) -> Any:
    """A value that adds `levels` to its document's depth."""
    value: Any = 1
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize("there", [False, True], ids=["inserted", "replaced"])
@pytest.mark.parametrize("depth", [100, 150, MAX_DEPTH])
def test_deep_documents_are_delivered_exactly(depth: int, there: bool, mongo: Database) -> None:
    account = make(1)
    if there:
        account.save()
        assert drain() == []
    account.extra = {"deep": nested(depth - 1)}
    account.save()
    assert drain() == []
    assert mongo.accounts.find_one()["deep"] == account.extra["deep"]
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("there", [False, True], ids=["inserted", "replaced"])
def test_deeper_documents_are_refused_and_delay_no_other_change(there: bool, mongo: Database) -> None:
    account = make(1)
    if there:
        account.save()
        assert drain() == []
    for depth in (MAX_DEPTH + 1, 196, 250):
        account.extra = {"deep": nested(depth - 1)}
        account.save()
        make(2).save()
        [reason] = set(drain())
        assert reason == "MongoDB: the document is nested deeper than 180 levels"
        assert mongo.accounts.count_documents({"account_id": 2}) == 1
        Change.objects.all().delete()
        mongo.accounts.delete_many({"account_id": 2})
        Account.objects.filter(account_id=2)._raw_delete("default")


@pytest.mark.parametrize("there", [False, True], ids=["inserted", "replaced"])
def test_names_and_texts_with_a_meaning_in_updates_are_delivered_unchanged(there: bool, mongo: Database) -> None:
    account = make(1)
    if there:
        account.save()
        assert drain() == []
    account.products = ["$limit", "$$ROOT", "$$NOW", "{$set: 1}", "$"]
    account.extra = {"a.b": {"c.d": "$limit"}, ".": 1, "x.": [{".y": "$$REMOVE"}], "a": {"b": 2}}
    account.save()
    assert drain() == []
    document = mongo.accounts.find_one({"_id": ObjectId(account.pk)})
    assert document["products"] == account.products
    assert {name: document[name] for name in account.extra} == account.extra
    assert differences(Account, mongo) == []
