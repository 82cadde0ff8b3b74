"""Frozen and replaced publishers, and a broker that is killed: each key stays in order, and nothing is lost."""

import json
import random
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from django.db import connections

from examples.news.models import Story
from sync.monitoring.status import status
from sync.outbox.models import Change
from sync.tests.support.processes import script
from sync.tests.support.publishing import TOPIC, document, kafka_command, newest, publish, rows, story
from sync.tests.support.waiting import wait_for
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)


def states(kafka: Kafka, key: str) -> list[int]:
    """Return the diggs of one story's messages, in order."""
    found = [document(message) for message in kafka.read(TOPIC) if message.key().decode() == key]
    return [state["diggs"] for state in found]


@pytest.mark.parametrize("count", [1, 2], ids=["before it sends", "in mid-transaction"])
def test_a_frozen_publisher_that_wakes_up_sends_nothing(kafka: Kafka, count: int) -> None:
    stories = [story(diggs=1) for _ in range(count)]
    freezing = "sync.tests.support.scripts.publish_and_freeze"
    with script(freezing, str(count), SYNC_KAFKA=json.dumps(kafka.settings)) as frozen:
        frozen.until(lambda: frozen.is_frozen, "it has read the row")
        Story.objects.update(diggs=2)
        Change.objects.update(due_at="2020-01-01T00:00Z", claim="")  # as if its lease had expired
        publish()
        assert [states(kafka, one.pk) for one in stories] == [[2]] * count
        frozen.thaw()
        assert frozen.wait(90) == 1
    assert "Another publisher has taken over" in frozen.output
    assert [states(kafka, one.pk) for one in stories] == [[2]] * count
    assert not Change.objects.filter(queue="kafka").exists()


def test_the_publisher_that_starts_later_takes_over(kafka: Kafka) -> None:
    publisher = partial(kafka_command, kafka, "publish", "--interval", "0.2")
    with publisher() as first:
        wait_for(lambda: Worker.objects.filter(kind="publisher", queue="kafka").exists(), "the first is at work")
        assert [worker.alive for worker in status().workers if worker.kind == "publisher"] == [True]
        story()
        wait_for(lambda: not Change.objects.filter(queue="kafka").exists(), "it publishes")
        with publisher() as second:
            give_up = time.monotonic() + 60
            while first.status is None and time.monotonic() < give_up:
                story()
                time.sleep(0.3)
            assert first.status == 1
            story()
            wait_for(lambda: not Change.objects.filter(queue="kafka").exists(), "the second publishes")
            assert second.terminate() == 0
    assert newest(kafka.read(TOPIC)).keys() == rows().keys()


def has_more(kafka: Kafka, before: int) -> bool:
    return kafka.partitions(TOPIC) > 0 and len(kafka.read(TOPIC)) > before


def write_at_random(keys: list[str], seed: int, stop: threading.Event) -> None:
    """Write stories whose diggs only grow; some are deleted and inserted again."""
    chance, count = random.Random(seed), 0
    try:
        while not stop.is_set():
            key, count = chance.choice(keys), count + 1
            if chance.random() < 0.2:
                Story.objects.filter(pk=key).delete()
            elif not Story.objects.filter(pk=key).update(diggs=count):
                story(key=key, diggs=count)
            time.sleep(0.002)
    finally:
        connections.close_all()


@pytest.mark.slow
def test_a_broker_that_is_killed_and_comes_back(kafka: Kafka, settings: Any) -> None:
    settings.SYNC_INLINE = False
    keys = [f"{number:024x}" for number in range(1, 13)]
    stop = threading.Event()
    writer = threading.Thread(target=write_at_random, args=(keys, random.randrange(2**32), stop))
    with kafka_command(kafka, "publish", "--interval", "0.05") as publisher, ExitStack() as stack:
        stack.callback(stop.set)
        writer.start()
        for _ in range(2):
            before = len(kafka.read(TOPIC)) if kafka.partitions(TOPIC) else 0
            wait_for(partial(has_more, kafka, before), "it publishes")
            kafka.kill()
            time.sleep(3)
            kafka.start()
        wait_for(partial(has_more, kafka, len(kafka.read(TOPIC))), "it publishes again")
        stop.set()
        writer.join()
        wait_for(lambda: not Change.objects.filter(queue="kafka").exists(), "all is published", 120)
        assert publisher.terminate() == 0
    messages = kafka.read(TOPIC)
    assert {key: (one["title"], one["diggs"]) for key, one in newest(messages).items()} == rows()
    for key in keys:
        seen = [
            state["diggs"] for message in messages if message.key().decode() == key and (state := document(message))
        ]
        assert seen == sorted(seen), "in the order of the row's states"
    assert publisher.output.count("Nothing is lost") <= 6, "logged once, not at every attempt"
