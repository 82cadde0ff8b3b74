"""Consuming: the documents of a replica, read directly, after messages of any number, order and content."""

import json
from typing import Any

import pytest
from bson import Int64, ObjectId
from django.core.management import CommandError, call_command
from django.db import connection
from pymongo.database import Database

from examples.news.models import Story
from sync.kafka.replica import POSITIONS
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.publishing import TOPIC, publish, replica, rows, story
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)


def consume(*more: str, to: str = "stories_1") -> None:
    call_command("sync", "consume", "story", "--to", to, "--once", *more)


def test_a_replica_matches_the_table(kafka: Kafka, mongo: Database) -> None:
    stories = [story() for _ in range(30)]
    publish()
    consume()
    assert replica(mongo, "stories_1") == rows()
    stories[0].delete()
    Story.objects.filter(pk=stories[1].pk).update(diggs=7)
    story()
    publish()
    consume()
    assert replica(mongo, "stories_1") == rows()
    assert len(rows()) == 30


def test_a_replica_has_the_document_that_is_delivered_directly(kafka: Kafka, mongo: Database) -> None:
    one = story(promote_date=None, user={"n": Int64(5), "big": 2**40, "x": 1.0, "deep": [{"d": ObjectId()}]})
    publish()
    consume()
    direct, copy = mongo.stories.find_one(), mongo.stories_1.find_one()
    assert direct.pop("_sync") != copy.pop("_sync")
    assert copy == direct
    assert list(copy) == list(direct)
    assert [type(value) for value in copy["user"].values()] == [type(value) for value in direct["user"].values()]
    assert copy["_id"] == ObjectId(one.pk)


def test_reading_all_messages_again_changes_nothing(kafka: Kafka, mongo: Database) -> None:
    stories = [story() for _ in range(12)]
    publish()
    for one in stories[:6]:
        one.delete()
    Story.objects.update(diggs=9)
    publish()
    consume()
    before = list(mongo.stories_1.find().sort("_id"))
    consume("--from-beginning")
    assert list(mongo.stories_1.find().sort("_id")) == before
    assert replica(mongo, "stories_1") == rows()


def test_reading_from_the_beginning_restores_lost_documents(kafka: Kafka, mongo: Database) -> None:
    for _ in range(5):
        story()
    publish()
    consume()
    mongo.stories_1.delete_many({})
    consume()
    assert replica(mongo, "stories_1") == {}
    consume("--from-beginning")
    assert replica(mongo, "stories_1") == rows()


def test_a_replica_restored_with_its_positions_continues_from_them(kafka: Kafka, mongo: Database) -> None:
    one = story()
    publish()
    consume()
    dump = {name: list(mongo[name].find()) for name in ("stories_1", POSITIONS)}
    one.delete()
    story()
    publish()
    consume()
    for name, documents in dump.items():
        mongo[name].delete_many({})
        mongo[name].insert_many(documents)
    consume()
    assert replica(mongo, "stories_1") == rows()


def test_a_topic_created_again_is_newer_than_the_former_one(kafka: Kafka, mongo: Database) -> None:
    one = story(diggs=1)
    publish()
    for count in range(2, 6):
        Story.objects.update(diggs=count)
        publish()
    consume()
    kafka.empty()
    Story.objects.update(diggs=77)
    publish()
    consume()
    assert replica(mongo, "stories_1") == {one.pk: (one.title, 77)}


def test_a_document_of_another_writer_is_overwritten(kafka: Kafka, mongo: Database) -> None:
    one = story()
    mongo.stories_1.insert_one({"_id": ObjectId(one.pk), "title": "somebody's"})
    publish()
    consume()
    assert replica(mongo, "stories_1") == rows()


def test_strings_that_look_like_expressions_stay_unchanged(kafka: Kafka, mongo: Database) -> None:
    story(title="$$ROOT", description="$title")
    publish()
    consume()
    assert mongo.stories_1.find_one()["title"] == "$$ROOT"
    assert mongo.stories_1.find_one()["description"] == "$title"


GOOD = "aaaaaaaaaaaaaaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (GOOD, b"\xff\xfe", "not Extended JSON"),
        (GOOD, b"{not json", "not Extended JSON"),
        (GOOD, b"[1, 2]", "not a document"),
        (GOOD, b'{"_id": {"$oid": "bbbbbbbbbbbbbbbbbbbbbbbb"}}', "not a document with the key's _id"),
        (GOOD, b'{"_id": {"$oid": "aaaaaaaaaaaaaaaaaaaaaaaa"}, "_sync": 1}', "_sync is not an object"),
        (GOOD, b'{"_id": {"$oid": "aaaaaaaaaaaaaaaaaaaaaaaa"}, "n": {"$numberLong": "9e9"}}', "not Extended JSON"),
        (GOOD, b'{"_id": {"$oid": "aaaaaaaaaaaaaaaaaaaaaaaa"}, "n": 123456789012345678901}', "stored as BSON"),
        ("no key", b"{}", "the key is not valid for news.story"),
        (b"", b"{}", "the key is not valid for news.story"),
        (b"\xff", b"{}", "the key is not valid for news.story"),
    ],
)
def test_a_poison_message_alone_becomes_a_dead_letter(
    kafka: Kafka, mongo: Database, key: Any, value: bytes, why: str, capsys: pytest.CaptureFixture
) -> None:
    first = story()
    publish()
    kafka.send(TOPIC, (key, value))
    second = story()
    publish()
    with pytest.raises(SystemExit) as ended:
        consume()
    assert ended.value.code == 1
    assert "2 messages applied, 1 moved to dead letters." in capsys.readouterr().out
    assert replica(mongo, "stories_1").keys() == {first.pk, second.pk}
    [dead] = kafka.read(f"{TOPIC}.dead")
    assert (dead.key(), dead.value()) == (key.encode() if isinstance(key, str) else key, value)
    headers = dict(dead.headers())
    assert why in headers["reason"].decode()
    assert (headers["topic"], headers["partition"]) == (TOPIC.encode(), b"0")
    consume()  # continues after the dead letter


def test_a_message_that_mongodb_rejects_alone_becomes_a_dead_letter(kafka: Kafka, mongo: Database) -> None:
    mongo.stories_1.create_index("title", unique=True)
    try:
        for title in ("a", "b", "a", "c"):
            story(title=title)
        publish()
        with pytest.raises(SystemExit):
            consume()
        assert sorted(one["title"] for one in mongo.stories_1.find()) == ["a", "b", "c"]
        [dead] = kafka.read(f"{TOPIC}.dead")
        assert "duplicate key" in dict(dead.headers())["reason"].decode()
    finally:
        mongo.stories_1.drop_indexes()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["story", "--to", "stories"], "relays deliver to it"),
        (["story"], "relays deliver to it"),
        (["account", "--to", "x"], "None of these models is published"),
        (["story", "--to", "nowhere:x"], "SYNC_TARGETS has no alias 'nowhere'"),
        (["story", "--to", "sync_positions"], "Name another collection"),
        (["nothing"], "is not a mirrored model"),
        (["--format", "debezium"], "needs --prefix"),
        (["story", "--to", "x", "--prefix", "y"], "--prefix needs --format debezium"),
    ],
)
def test_wrong_arguments_are_reported(arguments: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why) as failure:
        call_command("sync", "consume", *arguments, "--once")
    assert failure.value.returncode == 2


def test_messages_removed_before_they_were_read_are_missing(kafka: Kafka, mongo: Database) -> None:
    for _ in range(20):
        story()
    publish()
    consume()
    mongo[POSITIONS].update_many({}, {"$set": {"offset": Int64(10_000)}})
    with pytest.raises(CommandError, match="--from-beginning") as failure:
        consume()
    assert failure.value.returncode == 1
    consume("--from-beginning")


def test_an_unavailable_kafka_is_reported(settings: Any) -> None:
    settings.SYNC_TIMEOUT = 1
    with pytest.raises(CommandError, match="Kafka is unavailable") as failure:
        consume()
    assert failure.value.returncode == 2


def event(op: str, before: Any, after: Any, *, schema: bool) -> bytes:
    payload = {"op": op, "before": before, "after": after, "source": {"db": "analytics"}, "ts_ms": 1}
    return json.dumps({"schema": {"type": "struct"}, "payload": payload} if schema else payload).encode()


@pytest.mark.parametrize("schema", [True, False], ids=["with schema", "without"])
def test_rows_of_debezium_events_are_delivered(kafka: Kafka, mongo: Database, settings: Any, schema: bool) -> None:
    stays, changes, goes = (story() for _ in range(3))
    Relay().drain()
    with connection.cursor() as cursor:  # as another program
        cursor.execute("UPDATE news_story SET diggs = 99 WHERE _id = %s", [changes.pk])
        cursor.execute("DELETE FROM news_story WHERE _id = %s", [goes.pk])
    Change.objects.all().delete()
    assert replica(mongo, "stories") != rows()

    def key(pk: str) -> bytes:
        data = {"_id": pk}
        return json.dumps({"schema": {}, "payload": data} if schema else data).encode()

    topic = f"dbserver1.{connection.settings_dict['NAME']}.news_story"
    kafka.make(topic)
    kafka.send(
        topic,
        # Neither the values nor the order of events matter.
        (key(changes.pk), event("u", None, {"_id": changes.pk, "diggs": "AQ=="}, schema=schema)),
        (key(stays.pk), event("r", None, {"_id": stays.pk, "diggs": 5}, schema=schema)),
        (key(goes.pk), event("d", {"_id": goes.pk}, None, schema=schema)),
        (key(goes.pk), None),
        (None, json.dumps({"_id": stays.pk, "diggs": 1, "__deleted": "false"}).encode()),  # flattened, without a key
        (key("no key"), event("c", None, {"_id": "no key"}, schema=schema)),
    )  # fmt: skip
    with pytest.raises(SystemExit):
        call_command("sync", "consume", "story", "--format", "debezium", "--prefix", "dbserver1", "--once")
    reasons = [dict(message.headers())["reason"].decode() for message in kafka.read(f"{topic}.dead")]
    assert len(reasons) == 1
    assert "the key is not valid for news.story" in reasons[0]
    assert set(Change.objects.values_list("key", flat=True)) == {stays.pk, changes.pk, goes.pk}
    Relay().drain()
    assert replica(mongo, "stories") == rows() == {stays.pk: (stays.title, 0), changes.pk: (changes.title, 99)}
    Change.objects.all().delete()
    call_command("sync", "consume", "story", "--format", "debezium", "--prefix", "dbserver1", "--once")
    assert not Change.objects.exists(), "the group continues at its position"


def test_a_truncated_table_is_delivered_as_a_whole(kafka: Kafka, mongo: Database) -> None:
    for _ in range(3):
        story()
    Relay().drain()
    with connection.cursor() as cursor:  # as another program
        cursor.execute("DELETE FROM news_story")
    Change.objects.all().delete()
    topic = f"dbserver1.{connection.settings_dict['NAME']}.news_story"
    kafka.make(topic)
    kafka.send(topic, (None, event("t", None, None, schema=True)))
    call_command("sync", "consume", "story", "--format", "debezium", "--prefix", "dbserver1", "--once")
    Relay().drain()
    assert mongo.stories.count_documents({}) == 0


def test_a_consumer_removes_its_worker_row_when_it_stops(kafka: Kafka, mongo: Database) -> None:
    story()
    publish()
    consume()
    assert not Worker.objects.filter(kind="consumer").exists()
