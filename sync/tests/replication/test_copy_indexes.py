"""A copy does not change by itself: TTL indexes are inert there, and indexes that reject documents are reported."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from pymongo.collection import Collection

from sync.mongodb.uris import parse
from sync.replication import copier
from sync.replication.copier import Copier
from sync.tests.support.copies import COPY, SOURCE, address, contents, copy, status_of, wait_until_equal

pytestmark = pytest.mark.django_db(transaction=True)  # for the heartbeat of the copier

LONG_AGO = datetime.now(UTC) - timedelta(days=365)


@pytest.fixture
def client(client: pymongo.MongoClient) -> Iterator[pymongo.MongoClient]:
    """Documents expire on this server only while a test allows it."""
    client.admin.command("setParameter", 1, ttlMonitorEnabled=False)
    yield client
    client.admin.command("setParameter", 1, ttlMonitorEnabled=True)


@pytest.fixture
def following(source: Collection, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copier that follows in a thread, and compares indexes every 0.1 s."""
    monkeypatch.setattr(copier, "SPEC", 0.1)
    monkeypatch.setattr("sync.replication.replicator.KEEP", 0.1)
    work = Copier(parse(address(SOURCE, "things")), parse(address(COPY, "things")))
    source.insert_one({"_id": "first", "at": LONG_AGO})
    thread = threading.Thread(target=work.follow, args=(lambda result: None,))
    thread.start()
    yield
    work.stop.set()
    thread.join(60)
    work.close()
    assert not thread.is_alive()


def let_expire(client: pymongo.MongoClient) -> None:
    """Lets the server delete expired documents, and waits for two passes of its TTL monitor."""
    passes = client.admin.command("serverStatus")["metrics"]["ttl"]["passes"]
    client.admin.command("setParameter", 1, ttlMonitorEnabled=True)
    end = time.monotonic() + 60
    while client.admin.command("serverStatus")["metrics"]["ttl"]["passes"] < passes + 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    client.admin.command("setParameter", 1, ttlMonitorEnabled=False)


def expiring(collection: Collection) -> dict[str, Any]:
    """Returns `expireAfterSeconds` by index; "" is the collection itself."""
    found = {index["name"]: index["expireAfterSeconds"] for index in collection.list_indexes()
             if "expireAfterSeconds" in index}  # fmt: skip
    options = collection.options()
    return found | ({"": options["expireAfterSeconds"]} if "expireAfterSeconds" in options else {})


def until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_a_document_that_the_source_keeps_does_not_expire_in_the_copy(
    client: pymongo.MongoClient, source: Collection, copied: Collection
) -> None:
    source.create_index("at", expireAfterSeconds=60)
    source.insert_many([{"_id": number, "at": LONG_AGO} for number in range(10)])
    copy()
    source.drop_index("at_1")
    let_expire(client)
    assert copied.count_documents({}) == 10
    assert contents(copied) == contents(source)
    copy()
    assert "at_1" not in copied.index_information()
    assert status_of("--verify") == 0


def test_a_document_that_expires_in_the_source_is_deleted_from_the_copy(
    client: pymongo.MongoClient, source: Collection, copied: Collection
) -> None:
    source.create_index("at", expireAfterSeconds=60)
    source.insert_one({"_id": 1, "at": LONG_AGO})
    copy()
    assert copied.count_documents({}) == 1
    let_expire(client)
    assert source.count_documents({}) == 0
    copy()
    assert copied.count_documents({}) == 0


@pytest.mark.parametrize("options", [{}, {"partialFilterExpression": {"a": {"$gt": 1}}}, {"sparse": True}])
def test_a_ttl_index_of_an_older_copy_is_made_inert(
    source: Collection, copied: Collection, options: dict[str, Any]
) -> None:
    source.create_index("at", expireAfterSeconds=60, **options)
    copied.create_index("at", expireAfterSeconds=60, **options)
    source.insert_one({"_id": 1})
    copy()
    assert expiring(copied) == {}
    assert "at_1" in copied.index_information()


def test_a_ttl_index_that_only_the_destination_has_is_inert_while_it_is_a_copy(
    client: pymongo.MongoClient, source: Collection, copied: Collection
) -> None:
    copied.create_index("at", expireAfterSeconds=60, name="own")
    source.insert_many([{"_id": number, "at": LONG_AGO} for number in range(10)])
    copy()
    let_expire(client)
    assert contents(copied) == contents(source)
    copy()
    assert "own" in copied.index_information()
    copy("--promote")
    assert expiring(copied) == {"own": 60}


def test_a_clustered_collection_that_expires_is_copied_without_expiry(
    client: pymongo.MongoClient, source: Collection, copied: Collection
) -> None:
    clustered = {"key": {"_id": 1}, "unique": True}
    client[SOURCE].create_collection("things", clusteredIndex=clustered, expireAfterSeconds=60)
    source.insert_many([{"_id": LONG_AGO + timedelta(seconds=number)} for number in range(10)])
    copy()
    assert contents(copied) == contents(source)
    client[SOURCE].command("collMod", "things", expireAfterSeconds="off")
    let_expire(client)
    assert copied.count_documents({}) == 10
    client[COPY].command("collMod", "things", expireAfterSeconds=60)
    assert status_of("--verify") == 1
    copy()
    assert expiring(copied) == {}
    assert status_of("--verify") == 0


def test_promoting_activates_the_ttl_indexes_of_the_copy_even_without_the_source(
    source: Collection, copied: Collection
) -> None:
    source.create_index("at", expireAfterSeconds=60)
    source.insert_one({"_id": 1})
    copy()
    source.database.command("collMod", "things", index={"name": "at_1", "expireAfterSeconds": 7200})
    copy()
    nowhere = "mongodb://127.0.0.1:9/" + f"{SOURCE}/things"
    assert "is 7200" in copy(nowhere, address(COPY, "things"), "--promote")
    assert expiring(copied) == {"at_1": 7200}
    assert status_of() == 2, "it is no longer a copy, and it has documents"
    assert status_of("--promote") == 2, "there is nothing to promote"


@pytest.mark.parametrize(
    "change",
    [
        lambda copied: copied.create_index("name", unique=True),
        lambda copied: copied.create_index("at", expireAfterSeconds=60),
        lambda copied: copied.create_index([("place", "2dsphere")]),
        lambda copied: copied.create_index("name", unique=True, partialFilterExpression={"a": {"$gt": 1}}),
        lambda copied: copied.drop_index("kept_1"),
        lambda copied: copied.database.command("collMod", "things", validator={"a": 1}),
        lambda copied: copied.database.command("collMod", "things", index={"name": "kept_1", "hidden": True}),
        lambda copied: copied.database.command("collMod", "things", index={"name": "kept_1", "expireAfterSeconds": 60}),
    ],
)
def test_verify_names_indexes_that_delete_reject_or_are_missing_in_the_copy(
    source: Collection, copied: Collection, change: Any
) -> None:
    source.insert_one({"_id": 1})
    source.create_index("kept")
    copy()
    assert status_of("--verify") == 0
    copied.create_index("more")
    assert status_of("--verify") == 0, "an additional normal index is harmless"
    change(copied)
    assert status_of("--verify") == 1


def test_documents_that_violate_the_sources_own_rule_are_copied(source: Collection, copied: Collection) -> None:
    source.insert_many([{"_id": number} for number in range(10)])
    source.database.command("collMod", "things", validator={"$jsonSchema": {"required": ["name"]}})
    copy()
    assert contents(copied) == contents(source)
    copied.database.command("collMod", "things", validator={"nothing": "suits"})
    source.insert_one({"_id": "more", "name": "x"})
    copy()
    assert contents(copied) == contents(source)
    assert copied.options() == source.options()


def test_an_index_that_the_destination_rejects_is_named_and_does_not_stop_the_copy(
    source: Collection, copied: Collection
) -> None:
    copied.create_index("name", name="another")
    source.create_index("name")
    source.create_index("b")
    source.insert_one({"_id": 1, "name": "x"})
    with pytest.raises(SystemExit) as stopped:
        copy()
    assert stopped.value.code == 1
    assert contents(copied) == contents(source)
    assert "b_1" in copied.index_information()
    copied.drop_index("another")
    assert status_of() == 0
    assert copied.index_information() == source.index_information()


@pytest.mark.usefixtures("following")
def test_a_running_copy_follows_indexes_and_options(source: Collection, copied: Collection) -> None:
    wait_until_equal(source, copied)
    source.create_index("a", unique=True, sparse=True)
    until(lambda: "a_1" in copied.index_information())
    source.create_index("at", expireAfterSeconds=86400 * 3650)
    until(lambda: "at_1" in copied.index_information())
    assert expiring(copied) == {}
    source.drop_index("a_1")
    until(lambda: "a_1" not in copied.index_information())
    source.database.command("collMod", "things", validator={"x": {"$exists": False}})
    until(lambda: copied.options() == source.options())
    copied.create_index("own", expireAfterSeconds=60)
    until(lambda: expiring(copied) == {})


@pytest.mark.usefixtures("following")
def test_a_copy_that_is_dropped_while_it_follows_is_filled_again(source: Collection, copied: Collection) -> None:
    source.insert_many([{"_id": number} for number in range(10)])
    wait_until_equal(source, copied)
    copied.drop()
    wait_until_equal(source, copied)
