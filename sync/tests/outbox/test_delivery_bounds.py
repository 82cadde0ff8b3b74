"""MongoDB limits the time of each write of a delivery; on a sharded cluster, deliveries need a suitable shard key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.mongodb import client as engine
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill, mongo_writer
from sync.outbox.relay import Relay
from sync.verification import verify
from sync.verification.repair import Repairer
from sync.verification.scan import Scan

pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
WRITES = {"insert", "update", "delete", "findAndModify"}


def save(key: str) -> Account:
    return Account.objects.create(pk=key, account_id=1, limit=1, products=[])


def test_every_write_of_a_delivery_has_a_time_limit_in_mongodb(commands: list[Any], settings: Any) -> None:
    target, key = Target(Account), "a" * 24
    account = save(key)  # inline
    account.limit = 2
    account.save()
    settings.SYNC_INLINE = False
    account.save()
    Relay().drain()
    engine.collection(target).update_one({}, {"$set": {"limit": 0}})
    [mine] = [each for each in commands if each.get("updates", [{}])[0].get("u") == {"$set": {"limit": 0}}]
    commands.remove(mine)
    scan = Scan(target, "default")
    assert verify.verify(target, repair=Repairer(scan)).found == 0
    backfill.plan(target)
    while backfill.work():
        pass
    account.delete()
    Relay().drain()
    found = [command for command in commands if WRITES & set(command)]
    assert {next(iter(command)) for command in found} == {"update", "delete"}
    assert all(0 < command["maxTimeMS"] <= settings.SYNC_TIMEOUT * 1000 for command in found), found


def test_a_delete_reaches_every_shard(commands: list[Any]) -> None:
    keys = ["c" * 24, "d" * 24]
    mongo_writer.deliver(Target(Account), keys, "default", "token")
    [command] = [command for command in commands if "delete" in command]
    [delete] = command["deletes"]
    assert delete["limit"] == 0  # all matches on every shard
    assert delete["q"]["_id"] == {"$in": [ObjectId(key) for key in keys]}


@pytest.fixture
def shard_key(commands: list[Any]) -> Iterator[Any]:
    """Declares the shard key of accounts in the collection where mongos stores it."""
    config = engine.client().config.collections
    name = f"{engine.database().name}.accounts"

    def put(key: dict[str, Any], **more: Any) -> None:
        config.replace_one({"_id": name}, {"_id": name, "key": key, **more}, upsert=True)

    yield put
    config.delete_one({"_id": name})


@pytest.mark.parametrize("key", [{"account_id": 1}, {"account_id": "hashed"}, {"_id": 1, "limit": 1}])
def test_nothing_is_delivered_to_a_collection_sharded_by_another_field(
    key: dict[str, Any], shard_key: Any, settings: Any, mongo: Database[dict[str, Any]]
) -> None:
    settings.SYNC_INLINE = False
    save("e" * 24)
    shard_key(key)
    with pytest.raises(Unavailable, match=r"is sharded by .*Shard it by _id, plain or hashed"):
        Relay().drain()
    assert mongo.accounts.count_documents({}) == 0
    shard_key({"_id": "hashed"})
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 1


@pytest.mark.parametrize("key", [{"_id": 1}, {"_id": "hashed"}])
def test_changes_are_delivered_to_a_collection_sharded_by_its_id(
    key: dict[str, Any], shard_key: Any, settings: Any, mongo: Database[dict[str, Any]]
) -> None:
    settings.SYNC_INLINE = False
    shard_key(key)
    save("f" * 24)
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 1


def test_delivery_works_without_the_privilege_to_read_shard_keys(
    commands: list[Any], settings: Any, mongo: Database[dict[str, Any]]
) -> None:
    settings.SYNC_INLINE = False
    save("9" * 24)
    refused = {"configureFailPoint": "failCommand", "mode": {"times": 1}}
    data = {"failCommands": ["find"], "errorCode": 13, "namespace": "config.collections"}
    mongo.client.admin.command({**refused, "data": data})
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 1
    assert "hello" in [next(iter(command)) for command in commands]  # it checks whether the server is a mongos
