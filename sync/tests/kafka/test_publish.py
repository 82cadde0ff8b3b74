"""Publishing: the messages of each row on a real broker, read with the test's own consumer."""

import datetime
from typing import Any

import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command
from django.db import transaction

from examples.news.models import Story
from sync.outbox.capture import record
from sync.outbox.models import Change
from sync.outbox.mongo_writer import State
from sync.tests.support.publishing import TOPIC, document, newest, publish, story
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)


def published() -> Any:
    return Change.objects.filter(queue="kafka")


def test_a_row_is_published_with_its_key_and_its_document(kafka: Kafka) -> None:
    one = story(diggs=404, user={"name": "ada", "registered": datetime.datetime(2010, 3, 16, tzinfo=datetime.UTC)})
    assert publish()[State.DELIVERED] == 1
    [message] = kafka.read(TOPIC)
    assert message.key().decode() == one.pk
    state = document(message)
    assert state["_id"] == ObjectId(one.pk)
    assert state["id"] == one.story_id
    assert state["user"]["registered"] == datetime.datetime(2010, 3, 16, tzinfo=datetime.UTC)
    assert '"diggs": {"$numberInt": "404"}' in message.value().decode(), "canonical Extended JSON"
    assert "_sync" not in state
    assert not published().exists()


def test_a_delete_is_a_message_without_a_value_and_does_not_settle(kafka: Kafka) -> None:
    one = story()
    publish()
    one_key = one.pk
    one.delete()
    publish()
    messages = kafka.read(TOPIC)
    assert [(message.key().decode(), message.value() is None) for message in messages] == [
        (one_key, False),
        (one_key, True),
    ]
    assert not published().exists()


def test_a_key_in_another_spelling_is_not_a_delete(kafka: Kafka) -> None:
    one = story(key="abcdef" * 4)
    publish()
    with transaction.atomic():
        record(Story, [one.pk.upper()], inline=False)
    publish()
    messages = kafka.read(TOPIC)
    assert [message.key().decode() for message in messages] == [one.pk, one.pk]
    assert all(message.value() for message in messages)


def test_changes_claimed_by_a_dead_publisher_are_published_once(kafka: Kafka) -> None:
    story()
    published().update(claim="gone")
    assert publish()[State.DELIVERED] == 1
    assert len(kafka.read(TOPIC)) == 1
    assert not published().exists()


def test_uncommitted_changes_are_not_published(kafka: Kafka) -> None:
    with transaction.atomic():
        story()
        transaction.set_rollback(True)
    publish()
    assert kafka.read(TOPIC) == []


def test_the_topic_is_created_with_its_partitions_and_compacted(kafka: Kafka, settings: Any) -> None:
    settings.SYNC_KAFKA_PARTITIONS = 3
    for _ in range(30):
        story()
    publish()
    assert kafka.partitions(TOPIC) == 3
    assert len({message.partition() for message in kafka.read(TOPIC)}) == 3
    assert kafka.config(TOPIC)["cleanup.policy"] == "compact"


def test_a_topic_with_fewer_partitions_is_rejected(kafka: Kafka, settings: Any) -> None:
    settings.SYNC_KAFKA_PARTITIONS = 2
    story()
    publish()
    settings.SYNC_KAFKA_PARTITIONS = 4
    with pytest.raises(CommandError, match="has 2 partitions, but SYNC_KAFKA_PARTITIONS is 4") as failure:
        call_command("sync", "publish", "--once")
    assert failure.value.returncode == 2


def test_a_key_stays_in_its_partition_when_the_topic_gets_more(kafka: Kafka) -> None:
    stories = [story() for _ in range(20)]
    publish()
    before = {message.key(): message.partition() for message in kafka.read(TOPIC)}
    kafka.grow(TOPIC, 9)
    for one in stories:
        one.save()
    publish()
    messages = kafka.read(TOPIC)
    assert len(messages) == 40
    assert all(before[message.key()] == message.partition() for message in messages)


def test_a_backfill_publishes_every_row(kafka: Kafka) -> None:
    keys = {story().pk for _ in range(25)}
    Change.objects.all().delete()
    call_command("sync", "backfill", "story", "--plan-only")
    publish()
    assert newest(kafka.read(TOPIC)).keys() == keys
    assert not published().exists()


def test_a_row_that_cannot_be_published_alone_becomes_a_dead_letter(kafka: Kafka, settings: Any) -> None:
    settings.SYNC_MAX_ATTEMPTS = 1
    too_large = story(description="x" * 1_100_000)
    small = story()
    counts = publish()
    assert (counts[State.DELIVERED], counts[State.REJECTED]) == (1, 1)
    assert newest(kafka.read(TOPIC)).keys() == {small.pk}
    [dead] = published()
    assert (dead.key, dead.failed) == (too_large.pk, True)
    assert "size too large" in dead.error


def test_a_row_that_only_the_broker_rejects_is_found_among_the_others(kafka: Kafka, settings: Any) -> None:
    settings.SYNC_MAX_ATTEMPTS = 1
    settings.SYNC_KAFKA |= {"message.max.bytes": 5_000_000}
    too_large = story(description="".join(chr(33 + number * 7 % 90) for number in range(1_200_000)))
    keys = {story().pk for _ in range(7)}
    publish()
    assert newest(kafka.read(TOPIC)).keys() == keys
    [dead] = published()
    assert (dead.key, dead.failed) == (too_large.pk, True)


def test_the_command_reports_what_it_did(kafka: Kafka, capsys: pytest.CaptureFixture) -> None:
    story()
    call_command("sync", "publish", "--once")
    assert capsys.readouterr().out == "1 change published, 0 rejected.\n"


def test_an_unavailable_kafka_is_reported_and_changes_are_kept(settings: Any) -> None:
    settings.SYNC_KAFKA = {
        "bootstrap.servers": "127.0.0.1:9",
        "sasl.password": "hush",
        "security.protocol": "PLAINTEXT",
    }
    story()
    with pytest.raises(CommandError, match=r"Kafka is unavailable: no response from 127\.0\.0\.1:9") as failure:
        call_command("sync", "publish", "--once")
    assert failure.value.returncode == 2
    assert published().count() == 1
    assert published().get().attempts == 0


def test_settings_that_librdkafka_rejects_are_reported_without_secrets(settings: Any) -> None:
    settings.SYNC_KAFKA = {"bootstrap.servers": "127.0.0.1:9", "security.protocol": "hush", "sasl.password": "hush"}
    with pytest.raises(CommandError, match=r"SYNC_KAFKA: .*security\.protocol") as failure:
        call_command("sync", "publish", "--once")
    assert failure.value.returncode == 2
    assert "hush" not in str(failure.value)
