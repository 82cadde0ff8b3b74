"""Copies match byte for byte, are not written twice, and continue after kill -9, step-downs and lost streams."""

import os
import random
import time
from decimal import Decimal
from io import StringIO
from typing import Any

import bson
import pymongo
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from django.core.management import CommandError, call_command
from pymongo.collection import Collection
from pymongo.database import Database

from sync.tests.chaos.servers import ThreeMembers
from sync.tests.support.copies import (
    COPY,
    RAW,
    SOURCE,
    address,
    contents,
    copy,
    copying,
    status_of,
    wait_until_equal,
)

pytestmark = pytest.mark.django_db(transaction=True)  # for the heartbeat of the copier


def writes_since(client: pymongo.MongoClient, start: Timestamp, database: str) -> list[str]:
    """Returns the writes to this database in the server's oplog, including those in transactions."""
    found = []
    for entry in client["local"]["oplog.rs"].find({"ts": {"$gt": start}}):
        inner = entry["o"].get("applyOps") if isinstance(entry["o"], dict) else None
        for operation in inner or [entry]:
            name = operation["ns"]
            if name.startswith(f"{database}.") and not name.endswith("_sync_copy") and operation["op"] != "n":
                found.append(f"{operation['op']} {name}")
    return found


def newest(client: pymongo.MongoClient) -> Timestamp:
    return client["local"]["oplog.rs"].find_one(sort=[("$natural", -1)])["ts"]


ODD: list[dict[str, Any]] = [
    {"_id": 1, "a": Int64(1), "b": 1.0, "c": Decimal128("1.0")},
    {"_id": "1", "z": 1, "a": 2},
    {"_id": Decimal128("2.50"), "nan": float("nan")},
    {"_id": {"a": 1, "b": [1, 2]}, "x": None},
    {"_id": Binary(b"\0\1", 5), "code": Code("f()"), "regex": Regex("a", "i")},
    {"_id": ObjectId(), "$dollar": {"a.b": 1}, "time": Timestamp(5, 6)},
    {"_id": MinKey(), "_sync": {"v": 1}},
    {"_id": MaxKey()},
    {"_id": True, "": ""},
]


def test_all_types_are_copied_byte_for_byte(source: Collection, copied: Collection) -> None:
    source.insert_many(ODD)
    assert "9 written" in copy()
    assert contents(copied) == contents(source)
    assert status_of("--verify") == 0


def test_text_that_is_not_utf8_is_copied(source: Collection, copied: Collection) -> None:
    good = bson.encode({"_id": 1, "text": "aXb"})
    source.with_options(codec_options=RAW).insert_one(RawBSONDocument(good.replace(b"aXb", b"a\xffb")))
    copy()
    assert contents(copied) == contents(source)


def test_a_second_run_writes_nothing(client: pymongo.MongoClient, source: Collection, copied: Collection) -> None:
    source.insert_many([{"number": number} for number in range(3000)])
    source.create_index("number", unique=True)
    copy()
    assert contents(copied) == contents(source)
    for arguments in ([], ["--full"]):
        start = newest(client)
        assert " 0 written" in copy(*arguments)
        assert writes_since(client, start, COPY) == []
    source.update_one({"number": 5}, {"$set": {"number": 5000}})
    start = newest(client)
    copy()
    assert writes_since(client, start, COPY) == [f"u {COPY}.things"]


def test_changes_and_deletes_follow(source: Collection, copied: Collection) -> None:
    source.insert_many([{"_id": number, "text": "x" * 1000} for number in range(3000)])
    copy()
    source.delete_many({"_id": {"$lt": 1000}})
    source.update_many({"_id": {"$gte": 2000}}, {"$set": {"text": "y"}})
    source.insert_many([{"_id": number} for number in range(3000, 3500)])
    copy()
    assert contents(copied) == contents(source)


def test_verify_names_each_mismatch_and_full_repairs_it(source: Collection, copied: Collection) -> None:
    source.insert_many([{"_id": number} for number in range(5)])
    source.create_index("a", name="by_a")
    copy()
    copied.insert_one({"_id": "more"})
    copied.delete_one({"_id": 1})
    copied.update_one({"_id": 2}, {"$set": {"a": 1}})
    copied.drop_index("by_a")
    out = StringIO()
    with pytest.raises(SystemExit) as stopped:
        call_command("sync", "copy", address(SOURCE, "things"), address(COPY, "things"), "--verify", stdout=out)
    assert stopped.value.code == 1
    output = out.getvalue()
    assert "3 mismatches" in output
    for line in ("more is extra", "1 is missing", "2 is different", "the index by_a is missing"):
        assert line in output
    copy("--full")
    assert contents(copied) == contents(source)
    assert status_of("--verify") == 0


def test_a_dropped_destination_is_copied_again(source: Collection, copied: Collection) -> None:
    source.insert_many([{"_id": number} for number in range(5)])
    copy()
    copied.drop()
    copy()
    assert contents(copied) == contents(source)


def without_expiry(collection: Collection) -> dict[str, Any]:
    """Returns the indexes that its copy should have, without expiry: a copy does not delete documents itself."""
    return {
        name: {option: value for option, value in index.items() if option != "expireAfterSeconds"}
        for name, index in collection.index_information().items()
    }


def test_indexes_and_options_are_copied(client: pymongo.MongoClient, source: Collection, copied: Collection) -> None:
    collation = {"locale": "en", "strength": 2}
    validator = {"$jsonSchema": {"required": ["name"]}}
    client[SOURCE].create_collection("things", collation=collation)
    source.insert_one({"_id": "before the rule"})
    client[SOURCE].command("collMod", "things", validator=validator)
    source.create_index([("name", 1), ("age", -1)], unique=True, sparse=True)
    source.create_index([("text", "text")], weights={"text": 3}, collation={"locale": "simple"})
    source.create_index("gone_at", expireAfterSeconds=3600, partialFilterExpression={"a": {"$gt": 1}})
    copy()
    assert contents(copied) == contents(source)
    assert copied.index_information() == without_expiry(source)
    assert copied.options() == source.options()
    client[SOURCE].command("collMod", "things", validator={})
    source.create_index("later")
    copy()
    assert copied.index_information() == without_expiry(source)
    assert status_of("--verify") == 0


def test_documents_may_swap_unique_values(source: Collection, copied: Collection) -> None:
    source.create_index("name", unique=True)
    source.insert_many([{"_id": 1, "name": "a"}, {"_id": 2, "name": "b"}, {"_id": 3, "name": "c"}])
    copy()
    source.update_one({"_id": 1}, {"$set": {"name": "x"}})
    source.update_one({"_id": 2}, {"$set": {"name": "a"}})
    source.update_one({"_id": 1}, {"$set": {"name": "b"}})
    copy()
    assert contents(copied) == contents(source)


def test_a_document_that_the_destination_rejects_does_not_stop_the_others(
    source: Collection, copied: Collection
) -> None:
    copied.create_index("name", unique=True)
    source.insert_many([{"_id": number, "name": number} for number in range(1000)])
    source.insert_one({"_id": "same", "name": 500})
    out = StringIO()
    with pytest.raises(SystemExit) as stopped:
        call_command("sync", "copy", address(SOURCE, "things"), address(COPY, "things"), stdout=out)
    assert stopped.value.code == 1
    assert "E11000" in out.getvalue()
    assert copied.count_documents({}) == 1000
    source.update_one({"_id": "same"}, {"$set": {"name": "own"}})
    assert status_of() == 0
    assert contents(copied) == contents(source)


def test_a_database_is_copied_with_all_its_collections(client: pymongo.MongoClient) -> None:
    for name in ("a", "b.c", "d"):
        client[SOURCE][name].insert_one({"name": name})
    client[SOURCE].create_collection("seen", viewOn="a")
    assert status_of(address(SOURCE), address(COPY)) == 1  # the view is skipped
    client[SOURCE]["seen"].drop()
    client[SOURCE]["d"].drop()
    assert status_of(address(SOURCE), address(COPY)) == 0
    assert contents(client[COPY]["a"]) == contents(client[SOURCE]["a"])
    assert contents(client[COPY]["b.c"]) == contents(client[SOURCE]["b.c"])
    assert contents(client[COPY]["d"]) == []
    assert status_of(address(SOURCE), address(COPY), "--verify") == 0


def test_a_dropped_source_empties_its_copy_but_a_wrong_address_does_not(source: Collection, copied: Collection) -> None:
    source.insert_one({"_id": 1})
    copy()
    source.drop()
    assert status_of() == 0
    assert contents(copied) == []
    assert status_of(address(SOURCE, "thingz"), address(COPY, "things")) == 2


@pytest.mark.parametrize("code", [286, 280, 260])
def test_after_a_lost_stream_everything_is_compared_again(
    client: pymongo.MongoClient, source: Collection, copied: Collection, code: int
) -> None:
    source.insert_many([{"_id": number} for number in range(100)])
    copy()
    source.delete_one({"_id": 5})
    fail = {"failCommands": ["getMore"], "errorCode": code, "appName": "sync copy"}
    client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=fail)
    try:
        copy()
    finally:
        client.admin.command("configureFailPoint", "failCommand", mode="off")
    assert contents(copied) == contents(source)


@pytest.mark.parametrize("token", ["nonsense", "82", "8265000000000000012B0229296E04"])
def test_after_an_invalid_resume_token_everything_is_compared_again(
    client: pymongo.MongoClient, source: Collection, copied: Collection, token: str
) -> None:
    source.insert_many([{"_id": number} for number in range(100)])
    copy()
    changed = client[COPY]["_sync_copy"].update_one({"_id": "things"}, {"$set": {"token": {"_data": token}}})
    assert changed.modified_count == 1
    source.delete_one({"_id": 5})
    copy()
    assert contents(copied) == contents(source)


@pytest.mark.parametrize(
    ("given", "to"),
    [
        ("nonsense", "mongodb://127.0.0.1:1/b/c"),
        ("http://127.0.0.1/a/b", "mongodb://127.0.0.1:1/b/c"),
        ("mongodb://", "mongodb://127.0.0.1:1/b/c"),
        ("mongodb://127.0.0.1:70000/a/b", "mongodb://127.0.0.1:1/b/c"),
        ("mongodb://127.0.0.1:1//c", "mongodb://127.0.0.1:1/b/c"),
        ("mongodb://127.0.0.1:1/a b/c", "mongodb://127.0.0.1:1/b/c"),
        ("mongodb://127.0.0.1:1/a/b", "mongodb://u:secret@127.0.0.1:1/b/c?replicaSet=x&nonsense=y"),
        ("mongodb://u:secret@127.0.0.1:1/a/b", "mongodb://127.0.0.1:1/b/c"),
        ("mongodb://127.0.0.1:1/a", "mongodb://127.0.0.1:1/b/c"),
    ],
)
def test_an_invalid_address_is_a_usage_error(settings: Any, given: str, to: str) -> None:
    settings.SYNC_TIMEOUT = 0.5
    with pytest.raises(CommandError) as stopped:
        copy(given, to)
    assert stopped.value.returncode == 2
    assert "\n" not in str(stopped.value)
    assert "secret" not in str(stopped.value)


@pytest.mark.usefixtures("source")
def test_a_collection_is_not_copied_to_itself(source: Collection) -> None:
    source.insert_one({"_id": 1})
    other_name = address(SOURCE, "things").replace("127.0.0.1", "localhost").partition("?")[0]
    for to in (address(SOURCE, "things"), address(SOURCE), address(), f"{other_name}?directConnection=true"):
        assert status_of(address(SOURCE, "things"), to, "--replace") == 2
    assert contents(source) == [bson.encode({"_id": 1})]


def test_views_and_capped_collections_and_time_series_are_refused(client: pymongo.MongoClient) -> None:
    client[SOURCE].create_collection("view", viewOn="things")
    client[SOURCE].create_collection("capped", capped=True, size=10_000)
    client[SOURCE].create_collection("series", timeseries={"timeField": "at"})
    for name in ("view", "capped", "series"):
        with pytest.raises(CommandError, match="is not copied") as stopped:
            copy(address(SOURCE, name), address(COPY, "things"))
        assert stopped.value.returncode == 2


def test_documents_that_were_not_copied_from_the_source_are_not_deleted(source: Collection, copied: Collection) -> None:
    source.insert_one({"_id": 1})
    copied.insert_one({"_id": "precious"})
    with pytest.raises(CommandError, match="--replace") as stopped:
        copy()
    assert stopped.value.returncode == 2
    assert copied.find_one() == {"_id": "precious"}
    copy("--replace")
    assert contents(copied) == contents(source)


def churn(collection: Collection, chance: random.Random, count: int) -> None:
    """Inserts, changes and deletes a few keys repeatedly."""
    for _ in range(count):
        key = chance.randrange(1000)
        match chance.randrange(3):
            case 0:
                collection.delete_one({"_id": key})
            case 1:
                collection.replace_one({"_id": key}, {"price": Decimal128(Decimal(key) / 100)}, upsert=True)
            case _:
                collection.update_one({"_id": key}, {"$inc": {"n": 1}}, upsert=True)


@pytest.mark.slow
def test_a_copy_that_is_killed_repeatedly_is_in_sync_at_the_end(source: Collection, copied: Collection) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    source.insert_many([{"_id": number, "text": "x" * 2000} for number in range(5000)])
    arguments = (address(SOURCE, "things"), address(COPY, "things"))
    with copying(*arguments) as process:
        for _ in range(8):
            end = time.monotonic() + 0.8 + 1.5 * chance.random()
            while time.monotonic() < end:
                churn(source, chance, 20)
            process.kill()
            process.start()
        wait_until_equal(source, copied)
        churn(source, chance, 200)
        wait_until_equal(source, copied)
        assert status_of(*arguments, "--follow") == 2  # another process holds the lease
        assert process.terminate(30) == 0


def test_a_frozen_copier_that_was_replaced_writes_no_old_state(source: Collection, copied: Collection) -> None:
    source.insert_one({"_id": 1, "n": 0})
    arguments = (address(SOURCE, "things"), address(COPY, "things"))
    with copying(*arguments) as first:
        wait_until_equal(source, copied)
        first.freeze()
        with copying(*arguments) as second:
            source.update_one({"_id": 1}, {"$set": {"n": 1}})
            wait_until_equal(source, copied)
            first.thaw()
            assert first.wait(30) == 2
            source.update_one({"_id": 1}, {"$set": {"n": 2}})
            wait_until_equal(source, copied)
            assert second.terminate(30) == 0


@pytest.mark.slow
def test_following_continues_when_primaries_step_down(mongo: Database) -> None:
    members = ThreeMembers(election=3000)
    chance = random.Random(7)
    try:
        with members.client() as client:
            source, copied = client[SOURCE]["things"], client[COPY]["things"]
            source.insert_many([{"_id": number} for number in range(2000)])
            with copying(members.uri("", f"{SOURCE}/things"), members.uri("", f"{COPY}/things")) as process:
                wait_until_equal(source, copied)
                for kind in ("step down", "kill primary", "step down"):
                    churn(source, chance, 200)
                    members.fail(kind, 1.0)
                    churn(source, chance, 200)
                wait_until_equal(source, copied)
                assert process.terminate() == 0
    finally:
        members.stop()
