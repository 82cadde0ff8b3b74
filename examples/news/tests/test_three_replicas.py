"""Stories on their way through Kafka into three replicas, while everything that takes part is killed or frozen."""

import os
import random
import signal
import subprocess
import threading
import time
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from pymongo.database import Database

from examples.news.models import REPLICAS, Story
from sync.mapping.registry import KAFKA
from sync.outbox.models import Change
from sync.tests.support.publishing import TOPIC, document, process, replica, rows, story, wait_until
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = [f"{number:024x}" for number in range(1, 25)]


def write_at_random(seed: int, stop: threading.Event) -> None:
    """Each story's diggs only grow; some are deleted and come back."""
    chance, count = random.Random(seed), 0
    try:
        while not stop.is_set():
            key, count = chance.choice(KEYS), count + 1
            if chance.random() < 0.3:
                Story.objects.filter(pk=key).delete()
            elif not Story.objects.filter(pk=key).update(diggs=count):
                story(key=key, diggs=count)
            time.sleep(0.005)
    finally:
        connections.close_all()


def are_equal(mongo: Database) -> bool:
    return all(replica(mongo, name) == rows() for name in REPLICAS)


def test_they_are_equal_to_mysql_at_the_end(kafka: Kafka, mongo: Database, settings: Any) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    settings.SYNC_INLINE = False
    # What a member that is killed has begun, holds up the next one for so long; a minute by default.
    mongo.client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=3)
    chance, stop = random.Random(seed), threading.Event()

    def start(name: str) -> subprocess.Popen:
        return process("consume", "story", "--to", name, "--batch", "20", kafka=kafka.settings)

    publisher = process("publish", "--interval", "0.05", kafka=kafka.settings)
    wait_until(lambda: kafka.partitions(TOPIC) == 5, "the topic is there")
    members = [(name, start(name)) for name in REPLICAS]
    writer = threading.Thread(target=write_at_random, args=(seed, stop))
    writer.start()
    try:
        members.append((REPLICAS[0], start(REPLICAS[0])))  # the first one's partitions are shared
        time.sleep(6)
        frozen = members[0][1]
        frozen.send_signal(signal.SIGSTOP)  # it holds what it has read, until the others have gone on
        for _ in range(3):
            place = chance.randrange(1, len(members))
            name, victim = members[place]
            victim.kill()
            victim.wait()
            members[place] = (name, start(name))
            time.sleep(2)
        kafka.kill()
        kafka.start()
        time.sleep(3)
        frozen.send_signal(signal.SIGCONT)
        time.sleep(2)
        stop.set()
        writer.join()
        wait_until(lambda: not Change.objects.filter(queue=KAFKA).exists(), "all is published", 90)
        wait_until(lambda: are_equal(mongo), "all replicas are equal to the table", 90)
        wait_until(
            lambda: Worker.objects.filter(queue="kafka:stories_2", note="0 messages behind").exists(), "it says so", 30
        )
    finally:
        stop.set()
        for _, member in members:
            member.kill()
            member.wait()
        publisher.kill()
        publisher.wait()
    messages = kafka.read(TOPIC)
    for key in KEYS:
        states = [document(message) for message in messages if message.key().decode() == key]
        seen = [state["diggs"] for state in states if state]
        assert seen == sorted(seen), "a topic has the states of a row in the order that it went through them"
    assert len(messages) > 3 * len(KEYS)
    for name in REPLICAS:
        call_command("sync", "consume", "story", "--to", name, "--from-beginning", "--once")
    assert are_equal(mongo), "every message once more"
