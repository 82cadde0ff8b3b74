"""Debezium's events: the consumer finds the row's key in every form that a connector sends."""

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pymongo.database import Database

from sync.binlog.models import Sweep
from sync.kafka.debezium import keys_of
from sync.outbox.mirrored import MirroredModel
from sync.outbox.models import Change
from sync.tests.support.publishing import story
from sync.tests.zoo.models import Tag, Typed
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)

AVRO = b"\x00\x00\x00\x00\x07\x30" + b"\xff" * 8
DEEP = b"[" * 100_000


def data(value: Any, *, schema: bool = False) -> bytes:
    return json.dumps({"schema": {"type": "struct"}, "payload": value} if schema else value).encode()


def after(pk: str, **more: Any) -> bytes:
    return data({"op": "c", "before": None, "after": {"_id": pk, **more}})


# For each form of key, the message about the row with this key.
NAMED = {
    "text, and the row": lambda pk: (pk, after(pk)),
    "text, and a tombstone": lambda pk: (pk, None),
    "text in quotes": lambda pk: (f'"{pk}"', None),
    "text with a line's end": lambda pk: (f" {pk}\n", None),
    "a Struct's text": lambda pk: (f"Struct{{_id={pk}}}", None),
    "a Struct's text with more columns": lambda pk: (f"Struct{{region=eu,_id={pk},part=5}}", None),
    "a Struct's text of another column, and the row": lambda pk: ("Struct{customer=5}", after(pk)),
    "JSON": lambda pk: (data({"_id": pk}), None),
    "JSON, its column in capitals": lambda pk: (data({"_ID": pk}), None),
    "no key, the row's columns in capitals": lambda pk: (None, data({"op": "c", "before": None, "after": {"_ID": pk}})),
    "a Struct's text, its column in capitals": lambda pk: (f"Struct{{_ID={pk}}}", None),
    "JSON with its schema": lambda pk: (data({"_id": pk}, schema=True), None),
    "JSON text with its schema": lambda pk: (data(pk, schema=True), None),
    "JSON of another column, and the row": lambda pk: (data({"customer": 5}), after(pk)),
    "JSON null, and the row": lambda pk: (b"null", after(pk)),
    "a number, and the row": lambda pk: (b"42", after(pk)),
    "no key": lambda pk: (None, after(pk)),
    "an empty key": lambda pk: (b"", after(pk)),
    "no key, of a deleted row": lambda pk: (None, data({"op": "d", "before": {"_id": pk}, "after": None}, schema=True)),
    "no key, of a flattened row": lambda pk: (None, data({"_id": pk, "diggs": 1, "__deleted": "true"})),
    "no key, of a flattened row with columns of such names": lambda pk: (
        None,
        data({"_id": pk, "op": "t", "ddl": "x"}),
    ),
    "Avro, and the row": lambda pk: (AVRO, after(pk)),
    "JSON, and a value in Avro": lambda pk: (data({"_id": pk}), AVRO),
    "text, and a value that is a Struct's text": lambda pk: (pk, b"Struct{after=Struct{_id=1},op=u}"),
    "JSON too deep to read, and the row": lambda pk: (DEEP, after(pk)),
    "JSON, and a row that has no key": lambda pk: (data({"_id": pk}), data({"op": "u", "before": None, "after": {}})),
}

NAMELESS = {
    "Avro": ((AVRO, AVRO), "its key is binary (begins with 00 00 00 00 07; Avro and Protobuf are not supported)"),
    "nothing": ((None, None), "its key is absent, its value absent"),
    "no JSON": ((None, b"<row/>"), 'its value \'<row/>\'. Expected JSON with "before" or "after"'),
    "a list": ((None, b"[1, 2]"), "its value '[1, 2]'"),
    "a row of something else": ((None, data({"op": "c", "after": {"id": 1}})), "the event has no '_id'"),
    "a number": ((b"42", None), "the key is not valid for news.story"),
    "a boolean": ((data({"_id": True}), None), "the key is not valid for news.story: 'true'"),
    "a fraction": ((data({"_id": 1.5}), None), "the key is not valid for news.story: '1.5'"),
    "another column's Struct": ((b"Struct{customer=5}", None), "its key is 'Struct{customer=5}'"),
    "an unknown kind": ((None, data({"op": "m", "message": {}})), "the event has no '_id'"),
    "JSON too deep to read": ((None, DEEP), "the event has no '_id'"),
}

NO_ROW = {
    "a transaction begins": (data({"transaction_id": "1"}), data({"status": "BEGIN", "id": "1", "event_count": None})),
    "a transaction ends": (None, data({"status": "END", "id": "1", "event_count": 2, "ts_ms": 5}, schema=True)),
    "a heartbeat": (data({"serverName": "dbserver1"}, schema=True), data({"ts_ms": 5}, schema=True)),
}

EVERY_ROW = {
    "truncate": (None, data({"op": "t", "before": None, "after": None})),
    "truncate with its schema": (None, data({"op": "t", "source": {"table": "news_story"}}, schema=True)),
    "a change of the schema": (None, data({"databaseName": "analytics", "ddl": "ALTER TABLE news_story ADD x INT"})),
}


def consume(kafka: Kafka, *messages: tuple[Any, Any]) -> tuple[int, list[str]]:
    """Send and consume messages. Return the exit status and the reasons of the dead letters."""
    topic = f"dbserver1.{connection.settings_dict['NAME']}.news_story"
    kafka.make(topic)
    kafka.send(topic, *messages)
    status = 0
    try:
        call_command("sync", "consume", "story", "--format", "debezium", "--prefix", "dbserver1", "--once")
    except SystemExit as ended:
        status = ended.code
    if not kafka.partitions(f"{topic}.dead"):
        return status, []
    return status, [dict(message.headers())["reason"].decode() for message in kafka.read(f"{topic}.dead")]


def recorded() -> list[str]:
    return sorted(Change.objects.filter(model="news.story", until="").values_list("key", flat=True))


def test_a_key_is_found_in_each_form_and_a_bad_message_stops_no_other(kafka: Kafka, mongo: Database) -> None:
    keys = {case: f"{number:024x}" for number, case in enumerate(NAMED, 1)}
    good = [NAMED[case](key) for case, key in keys.items()]
    bad = [message for message, _ in NAMELESS.values()]
    status, reasons = consume(kafka, *good[:9], *bad, *NO_ROW.values(), *good[9:])
    assert recorded() == sorted(keys.values())
    assert status == 1
    assert len(reasons) == len(NAMELESS), "an event without a row is not a dead letter"
    for (case, (_, expected)), reason in zip(NAMELESS.items(), reasons, strict=True):
        assert expected in reason, case


@pytest.mark.parametrize(
    ("model", "key", "found"),
    [
        (Tag, {"id": "Emc="}, ["4711"]),  # BIGINT UNSIGNED, with bigint.unsigned.handling.mode=precise
        (Tag, {"id": "AP////////8="}, ["72057594037927935"]),
        (Tag, {"id": "1234"}, ["1234", "-2658824"]),  # the text of a number, or its bytes
        (Tag, {"id": 4711}, ["4711"]),
        (Typed, {"id": "ABEiM0RVZneImaq7zN0AAA=="}, ["00112233-4455-6677-8899-aabbccdd0000"]),  # BINARY(16)
        (Typed, {"id": int("1" * 32)}, ["11111111-1111-1111-1111-111111111111"]),
        (Tag, "Struct{name=a,id=5,id=4711}", ["5", "4711"]),  # the name is "a,id=5"
    ],
)
def test_exact_numbers_and_bytes_are_read(model: type[MirroredModel], key: Any, found: list[str]) -> None:
    assert list(keys_of(model, key.encode() if isinstance(key, str) else data(key), None)) == found  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["1" * 24, "1234567890123456789012e4", "000000000000000000000001"])
def test_text_that_json_takes_for_a_number_stays_text(kafka: Kafka, mongo: Database, key: str) -> None:
    assert consume(kafka, (key, None)) == (0, [])
    assert recorded() == [key]


def test_an_event_that_changes_a_key_records_both_keys(kafka: Kafka, mongo: Database) -> None:
    old, new = "a" * 24, "b" * 24
    moved = data({"op": "u", "before": {"_id": old}, "after": {"_id": new}})
    assert consume(kafka, (data({"_id": new}), moved)) == (0, [])
    assert recorded() == [old, new]


@pytest.mark.parametrize("case", EVERY_ROW)
def test_an_event_about_the_whole_table_plans_a_delivery_of_every_row(kafka: Kafka, mongo: Database, case: str) -> None:
    story()
    Change.objects.all().delete()
    assert consume(kafka, EVERY_ROW[case]) == (0, [])
    assert Change.objects.filter(model="news.story").exclude(until="").exists()
    assert Sweep.objects.filter(model="news.story").exists()
