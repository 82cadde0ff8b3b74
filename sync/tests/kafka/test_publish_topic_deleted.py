"""A topic that is deleted while a publisher runs: it is made again, and its operator learns that it is empty."""

import signal

import pytest

from sync.mapping.registry import KAFKA
from sync.outbox.models import Change
from sync.tests.support.publishing import TOPIC, newest, process, story, wait_until
from sync.workers.models import Worker
from tests.kafka import Kafka

SOON = "import os; os.environ['SYNC_TIMEOUT'] = '3'"

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_publisher_makes_a_deleted_topic_again_and_says_that_it_lacks_rows(kafka: Kafka) -> None:
    publisher = process("publish", "--interval", "0.2", kafka=kafka.settings, prefix=SOON)
    try:
        wait_until(lambda: Worker.objects.filter(kind="publisher", queue=KAFKA).exists(), "it is at work")
        story()
        wait_until(lambda: not Change.objects.filter(queue=KAFKA).exists(), "it publishes")
        kafka.drop(TOPIC)
        new = story()
        wait_until(lambda: kafka.partitions(TOPIC), "the topic is there again", 90)
        wait_until(lambda: not Change.objects.filter(queue=KAFKA).exists(), "it publishes again", 90)
        publisher.send_signal(signal.SIGTERM)
        said = publisher.communicate(timeout=60)[0].decode()
    finally:
        publisher.kill()
    assert newest(kafka.read(TOPIC)).keys() == {new.pk}
    assert said.count("sync backfill story") == 2, "for the first topic, and for the second"
