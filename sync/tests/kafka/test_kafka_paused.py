"""Publishers and consumers are paused and resumed while they run, and after kill -9 during a pause."""

import json
import time
from collections import Counter
from typing import Any

import pytest
from django.core.management import call_command
from pymongo.database import Database

from sync.core import conf
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.processes import manage
from sync.tests.support.publishing import TOPIC, kafka_command, publish, replica, rows, story
from sync.tests.support.routes import (
    command,
    is_paused_and_falls_behind,
    once_is_refused,
    pause,
    resume,
    status_of,
    stays_as_it_is,
    until,
)
from sync.workers.models import Checkpoint
from sync.workers.routes import PAUSE_AGE
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)

PUBLISH = "publish"
GROUP = f"{conf.KAFKA_PREFIX}.stories_1"
CONSUME = f"consume:{GROUP}"
NOTICED = PAUSE_AGE + 1.5  # seconds until a worker notices a pause


def published(kafka: Kafka) -> Counter[str]:
    return Counter(message.key().decode() for message in kafka.read(TOPIC))


@pytest.mark.slow
def test_a_paused_publisher_sends_nothing_and_then_each_change_once(kafka: Kafka, mongo: Database) -> None:
    keys = [story().pk for _ in range(3)]
    with kafka_command(kafka, "publish") as worker:
        until(lambda: not Change.objects.filter(queue="kafka").exists())
        until(lambda: status_of(PUBLISH).get("alive"))
        pause(PUBLISH)
        time.sleep(NOTICED)
        keys += [story().pk for _ in range(3)]
        stays_as_it_is(lambda: kafka.end(TOPIC))
        is_paused_and_falls_behind(PUBLISH, worker.pid)
    with kafka_command(kafka, "publish") as worker:
        is_paused_and_falls_behind(PUBLISH, worker.pid)
        keys += [story().pk for _ in range(3)]
        stays_as_it_is(lambda: kafka.end(TOPIC))
        assert len(published(kafka)) == 3
        assert worker.status is None
        resume(PUBLISH)
        until(lambda: not Change.objects.filter(queue="kafka").exists())
        assert published(kafka) == Counter(keys)
        until(lambda: status_of(PUBLISH)["lag"] == 0)


def test_a_pause_takes_effect_while_there_is_more_to_publish(kafka: Kafka, monkeypatch: Any) -> None:
    for _ in range(6):
        story()
    deliver = Relay._deliver
    batches = []

    def pause_after_the_second(self: Relay, *arguments: Any, **options: Any) -> Any:
        counts = deliver(self, *arguments, **options)
        batches.append(counts)
        if len(batches) == 2:
            command("pause", PUBLISH)
            self.is_paused.ask_at = float("-inf")  # as if 1 s had passed
        return counts

    monkeypatch.setattr(Relay, "_deliver", pause_after_the_second)
    once_is_refused(PUBLISH, lambda: call_command("sync", "publish", "--once", "--batch", "1"))
    left = Change.objects.filter(queue="kafka").count()
    assert 0 < left < 6
    assert len(published(kafka)) == 6 - left


@pytest.mark.slow
def test_a_paused_consumer_writes_nothing_and_stays_in_its_group(kafka: Kafka, mongo: Database) -> None:
    soon = json.dumps({**kafka.settings, "max.poll.interval.ms": 6000})
    consume = ("consume", "story", "--to", "stories_1")
    for _ in range(3):
        story()
    publish()
    with manage("sync", *consume, SYNC_KAFKA=soon) as worker:
        until(lambda: replica(mongo, "stories_1") == rows() and status_of(CONSUME).get("alive"))
        pause(CONSUME)
        time.sleep(NOTICED)
        for _ in range(3):
            story()
        publish()
        stays_as_it_is(lambda: replica(mongo, "stories_1"), 9)
        assert kafka.members(GROUP) == 1, "Kafka does not treat it as dead"
        is_paused_and_falls_behind(CONSUME, worker.pid)
    with manage("sync", *consume, SYNC_KAFKA=soon) as worker:
        is_paused_and_falls_behind(CONSUME, worker.pid)
        story()
        publish()
        stays_as_it_is(lambda: replica(mongo, "stories_1"))
        assert len(replica(mongo, "stories_1")) == 3
        assert worker.status is None
        resume(CONSUME)
        until(lambda: replica(mongo, "stories_1") == rows())
        assert len(rows()) == 7
        until(lambda: status_of(CONSUME)["lag"] < 5)


def test_a_single_run_of_a_paused_route_is_rejected(kafka: Kafka, mongo: Database) -> None:
    story()
    pause(PUBLISH)
    once_is_refused(PUBLISH, lambda: call_command("sync", "publish", "--once"))
    assert kafka.partitions(TOPIC) == 0
    resume(PUBLISH)
    publish()
    Checkpoint.objects.create(name=CONSUME, paused=True)
    once_is_refused(CONSUME, lambda: call_command("sync", "consume", "story", "--to", "stories_1", "--once"))
    assert replica(mongo, "stories_1") == {}
    resume(CONSUME)
    call_command("sync", "consume", "story", "--to", "stories_1", "--once")
    assert replica(mongo, "stories_1") == rows()
