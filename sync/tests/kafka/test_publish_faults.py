"""Publishers that are frozen or taken over, and a broker that dies: each key's order holds, and nothing is lost."""

import random
import signal
import threading
import time
from functools import partial
from typing import Any

import pytest
from django.db import connections

from examples.news.models import Story
from sync.mapping.registry import KAFKA
from sync.outbox.models import Change
from sync.tests.support.publishing import TOPIC, document, newest, process, publish, rows, story, wait_until
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)

# Freezes the process, from inside, when it has read the rows, and has sent all of them but the last.
FREEZES = """
import django; django.setup()
import os, signal, time
from sync.kafka import publisher
encode, rows = publisher.encode, []
def freeze(row):
    rows.append(row)
    if len(rows) == {rows}:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGSTOP)
    return encode(row)
publisher.encode = freeze
"""


def is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


def states(kafka: Kafka, key: str) -> list[int]:
    """The diggs that the topic has seen of one story, in order."""
    found = [document(message) for message in kafka.read(TOPIC) if message.key().decode() == key]
    return [state["diggs"] for state in found]


@pytest.mark.parametrize("count", [1, 2], ids=["before it sends", "in mid-transaction"])
def test_a_frozen_publisher_that_wakes_up_sends_nothing(kafka: Kafka, count: int) -> None:
    stories = [story(diggs=1) for _ in range(count)]
    frozen = process("publish", kafka=kafka.settings, prefix=FREEZES.format(rows=count))
    try:
        wait_until(lambda: is_stopped(frozen.pid), "the publisher has read the row")
        Story.objects.update(diggs=2)
        Change.objects.update(due_at="2020-01-01T00:00Z", claim="")  # as if its lease had passed
        publish()
        assert [states(kafka, one.pk) for one in stories] == [[2]] * count
        frozen.send_signal(signal.SIGCONT)
        said = frozen.communicate(timeout=90)[0].decode()
    finally:
        frozen.kill()
    assert frozen.returncode == 1
    assert "Another publisher has taken over" in said
    assert [states(kafka, one.pk) for one in stories] == [[2]] * count
    assert not Change.objects.filter(queue=KAFKA).exists()


def test_the_one_that_starts_later_takes_over(kafka: Kafka) -> None:
    first = process("publish", "--interval", "0.2", kafka=kafka.settings)
    try:
        wait_until(lambda: Worker.objects.filter(kind="publisher", queue=KAFKA).exists(), "the first is at work")
        story()
        wait_until(lambda: not Change.objects.filter(queue=KAFKA).exists(), "it publishes")
        second = process("publish", "--interval", "0.2", kafka=kafka.settings)
        try:
            give_up = time.monotonic() + 60
            while first.poll() is None and time.monotonic() < give_up:
                story()
                time.sleep(0.3)
            assert first.returncode == 1
            story()
            wait_until(lambda: not Change.objects.filter(queue=KAFKA).exists(), "the second publishes")
            second.send_signal(signal.SIGTERM)
            assert second.wait(60) == 0
        finally:
            second.kill()
    finally:
        first.kill()
    assert newest(kafka.read(TOPIC)).keys() == rows().keys()


def has_more(kafka: Kafka, before: int) -> bool:
    return kafka.partitions(TOPIC) > 0 and len(kafka.read(TOPIC)) > before


def write_at_random(keys: list[str], seed: int, stop: threading.Event) -> None:
    """Each story's diggs only grow, from whichever insert; some are deleted and come back."""
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


def test_a_broker_that_is_killed_and_comes_back(kafka: Kafka, settings: Any) -> None:
    settings.SYNC_INLINE = False
    keys = [f"{number:024x}" for number in range(1, 13)]
    stop = threading.Event()
    writer = threading.Thread(target=write_at_random, args=(keys, random.randrange(2**32), stop))
    publisher = process("publish", "--interval", "0.05", kafka=kafka.settings)
    try:
        writer.start()
        for _ in range(2):
            before = len(kafka.read(TOPIC)) if kafka.partitions(TOPIC) else 0
            wait_until(partial(has_more, kafka, before), "it publishes")
            kafka.kill()
            time.sleep(3)
            kafka.start()
        wait_until(partial(has_more, kafka, len(kafka.read(TOPIC))), "it publishes again")
        stop.set()
        writer.join()
        wait_until(lambda: not Change.objects.filter(queue=KAFKA).exists(), "all is published", 120)
        publisher.send_signal(signal.SIGTERM)
        said = publisher.communicate(timeout=60)[0].decode()
    finally:
        stop.set()
        publisher.kill()
    assert publisher.returncode == 0, said
    messages = kafka.read(TOPIC)
    assert {key: (one["title"], one["diggs"]) for key, one in newest(messages).items()} == rows()
    for key in keys:
        seen = [
            state["diggs"] for message in messages if message.key().decode() == key and (state := document(message))
        ]
        assert seen == sorted(seen), "in the order in which the row went through them"
    assert said.count("Nothing is lost") <= 6, "it is said once, not at every try"
