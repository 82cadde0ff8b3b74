"""A topic that is deleted while a publisher runs is created again, and a warning reports its missing rows."""

import pytest

from sync.outbox.models import Change
from sync.tests.support.publishing import TOPIC, kafka_command, newest, story
from sync.tests.support.waiting import wait_for
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_publisher_creates_a_deleted_topic_again_and_warns_of_missing_rows(kafka: Kafka) -> None:
    soon = {"SYNC_TIMEOUT": "3", "SYNC_LEASE": "4", "SYNC_SETTLE": "8"}
    with kafka_command(kafka, "publish", "--interval", "0.2", **soon) as publisher:
        wait_for(lambda: Worker.objects.filter(kind="publisher", queue="kafka").exists(), "it is at work")
        story()
        wait_for(lambda: not Change.objects.filter(queue="kafka").exists(), "it publishes")
        kafka.drop(TOPIC)
        new = story()
        wait_for(lambda: kafka.partitions(TOPIC), "the topic exists again", 90)
        wait_for(lambda: not Change.objects.filter(queue="kafka").exists(), "it publishes again", 90)
        publisher.terminate()
    assert newest(kafka.read(TOPIC)).keys() == {new.pk}
    assert publisher.output.count("sync backfill story") == 2, "for the first topic, and for the second"
