"""A document that cannot be decoded is copied byte for byte, becomes a dead letter of a pull, and stops no other."""

import threading
from io import StringIO
from typing import Any

import bson
import pymongo
import pytest
from bson import Int64, ObjectId
from bson.raw_bson import RawBSONDocument
from django.core.management import call_command
from pymongo.collection import Collection
from pymongo.database import Database

from sync.mongodb.change_stream import is_one_of, key_of
from sync.mongodb.uris import parse
from sync.replication.copier import Copier
from sync.replication.models import DeadLetter
from sync.tests.support.copies import COPY, RAW, SOURCE, address, contents, copy, status_of, wait_until_equal
from sync.tests.zoo.models import Visit


def document(elements: bytes) -> RawBSONDocument:
    return RawBSONDocument((len(elements) + 5).to_bytes(4, "little") + elements + b"\0")


def text(name: bytes, value: bytes) -> bytes:
    return b"\x02" + name + b"\0" + (len(value) + 1).to_bytes(4, "little") + value + b"\0"


def number(name: bytes, value: int) -> bytes:
    return b"\x10" + name + b"\0" + value.to_bytes(4, "little")


def nested(depth: int) -> bytes:
    inner = document(b"").raw
    for _ in range(depth):
        inner = document(b"\x03a\0" + bytes(inner)).raw
    return b"\x03deep\0" + bytes(inner)


def odd_documents() -> dict[str, RawBSONDocument]:
    return {
        "a name twice": document(number(b"_id", 1) + number(b"a", 1) + number(b"a", 2)),
        "text that is not UTF-8": document(number(b"_id", 2) + text(b"a", b"x\xff\xfe")),
        "a name that is not UTF-8": document(number(b"_id", 3) + number(b"\xff", 1)),
        "a key that is not UTF-8": document(text(b"_id", b"k\xff") + number(b"a", 1)),
        "a key with text that is not UTF-8 inside": document(
            b"\x03_id\0" + bytes(document(text(b"a", b"\xc3\x28")).raw) + number(b"a", 1)
        ),
        "deeply nested": document(number(b"_id", 4) + nested(170)),
        "a symbol": document(number(b"_id", 5) + b"\x0e" + text(b"a", b"x")[1:]),
        "undefined": document(number(b"_id", 6) + b"\x06a\0"),
        "a pointer": document(number(b"_id", 7) + b"\x0ca\0\x02\0\0\0c\0" + ObjectId().binary),
        "a short UUID": document(number(b"_id", 8) + b"\x05a\0\x03\0\0\0\x04abc"),
        "a reference to nothing": document(
            number(b"_id", 9) + b"\x03a\0" + bytes(document(number(b"$ref", 1) + number(b"$id", 2)).raw)
        ),
        "a date past the year 9999": document(b"\x09_id\0" + (2**62).to_bytes(8, "little")),
        "an array with other names": document(
            number(b"_id", 10) + b"\x04a\0" + bytes(document(number(b"7", 1) + number(b"7", 2)).raw)
        ),
        "an array of one name as key": document(b"\x03_id\0" + bytes(document(number(b"a", 1) * 2).raw)),
    }


LARGEST = 16 * 1024 * 1024


@pytest.fixture
def source(client: pymongo.MongoClient) -> Collection:
    return client[SOURCE].get_collection("things", codec_options=RAW)


@pytest.fixture
def copied(client: pymongo.MongoClient) -> Collection:
    return client[COPY].get_collection("things", codec_options=RAW)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", odd_documents())
def test_a_document_that_cannot_be_decoded_is_copied_byte_for_byte(
    source: Collection, copied: Collection, name: str
) -> None:
    odd = odd_documents()[name]
    source.insert_many([{"_id": 100}, odd, {"_id": ObjectId()}])
    copy()
    assert contents(copied) == contents(source)
    assert status_of("--verify") == 0
    source.delete_one(is_one_of([key_of(odd)]))
    source.insert_one({"_id": ObjectId()})
    copy()
    assert contents(copied) == contents(source)
    assert len(contents(copied)) == 3
    copied.insert_one(odd)
    copy("--full")
    assert contents(copied) == contents(source)


@pytest.mark.django_db(transaction=True)
def test_none_of_them_stops_a_copy_that_follows(source: Collection, copied: Collection) -> None:
    work = Copier(parse(address(SOURCE, "things")), parse(address(COPY, "things")))
    source.insert_one({"_id": "first"})
    thread = threading.Thread(target=work.follow, args=(lambda result: None,))
    thread.start()
    try:
        wait_until_equal(source, copied)
        source.insert_many(odd_documents().values())
        source.insert_one({"_id": "last"})
        wait_until_equal(source, copied)
        largest = document(number(b"_id", 99) + text(b"a", b"x" * (LARGEST - 22)))
        assert len(largest.raw) == LARGEST
        source.insert_one(largest)
        source.insert_one({"_id": "x" * 1_000_000})
        source.update_one({"_id": "last"}, {"$set": {"seen": True}})
        wait_until_equal(source, copied)
        source.delete_many({"_id": {"$ne": "last"}})
        wait_until_equal(source, copied)
        assert len(contents(copied)) == 1
    finally:
        work.stop.set()
        thread.join(60)
        work.close()


def test_the_key_is_extracted_from_any_position_in_a_document() -> None:
    values: list[Any] = [1, 1.5, "x", {"a": [1]}, b"x", None, True, Int64(3), ObjectId(), bson.Decimal128("1"),
                         bson.Timestamp(1, 2), bson.MinKey(), bson.MaxKey(), bson.Code("f"), bson.DBRef("a", 1),
                         bson.Code("f", {"a": 1}), bson.Regex("a", "i"), [1, "2"]]  # fmt: skip
    for value in values:
        last = {f"v{place}": one for place, one in enumerate(values)} | {"_id": value}
        for raw in ({"_id": value}, {"_id": value, "a": 1}, last):
            assert key_of(RawBSONDocument(bson.encode(raw))) == bson.encode({"_id": value})


@pytest.mark.django_db(transaction=True)
@pytest.mark.engine
def test_only_the_document_that_a_row_cannot_store_exactly_becomes_a_dead_letter(mongo: Database) -> None:
    visits = mongo["zoo_visits"]
    visits.drop()
    raw = visits.with_options(codec_options=RAW)
    bad = {
        1: number(b"a", 1) + number(b"a", 2),
        2: b"\x0e" + text(b"a", b"x")[1:],
        3: b"\x06a\0",
        4: b"\x03notes\0" + bytes(document(number(b"a", 1) + number(b"a", 2)).raw),
        5: text(b"a", b"\xff"),
        6: b"\x0ca\0\x02\0\0\0c\0" + ObjectId().binary,
        7: number(b"\xff", 1),
    }
    for key, elements in bad.items():
        begin = b"\x12_id\0" + key.to_bytes(8, "little") + text(b"badge", b"b%d" % key)
        raw.insert_one(document(begin + elements))
    visits.insert_one({"_id": Int64(100), "badge": "good", "at": bson.Regex("a", "im"), "t": bson.Timestamp(1, 2)})
    raw.insert_one(document(text(b"_id", b"\xff")))
    with pytest.raises(SystemExit) as stopped:
        call_command("sync", "pull", "visit", "--once", stdout=StringIO())
    assert stopped.value.code == 1
    assert list(Visit.objects.values_list("badge", flat=True)) == ["good"]
    assert DeadLetter.objects.count() == len(bad) + 1
    raw.delete_many({"_id": {"$ne": Int64(100)}})
    call_command("sync", "pull", "visit", "--once", stdout=StringIO())
    assert not DeadLetter.objects.exists()
    visits.drop()
