"""Stories reach three replicas through Kafka while publisher, consumers and broker are killed or frozen."""

import os
import random
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from pymongo.database import Database

from examples.news.models import REPLICAS, Story
from sync.outbox.models import Change
from sync.tests.support.processes import Process
from sync.tests.support.publishing import TOPIC, document, kafka_command, replica, rows, story
from sync.tests.support.waiting import wait_for
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = [f"{number:024x}" for number in range(1, 25)]


def write_at_random(seed: int, stop: threading.Event) -> None:
    """The diggs of a story only grow. Some stories are deleted and created again."""
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


@pytest.mark.slow
def test_all_replicas_equal_mysql_at_the_end(kafka: Kafka, mongo: Database, settings: Any) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    settings.SYNC_INLINE = False
    # The open transaction of a killed member blocks its successor until this limit, which is one minute by default.
    mongo.client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=3)
    chance, stop = random.Random(seed), threading.Event()

    with ExitStack() as stack:

        def consume(name: str) -> Process:
            member = kafka_command(kafka, "consume", "story", "--to", name, "--batch", "20")
            return stack.enter_context(member)

        publisher = stack.enter_context(kafka_command(kafka, "publish", "--interval", "0.05"))
        publisher.until(lambda: kafka.partitions(TOPIC) == 5, "the topic exists")
        members = [consume(name) for name in REPLICAS]
        writer = threading.Thread(target=write_at_random, args=(seed, stop))
        stack.callback(stop.set)
        writer.start()
        members.append(consume(REPLICAS[0]))  # shares the partitions of the first member
        time.sleep(6)
        frozen = members[0]
        frozen.freeze()  # it holds its messages until the others have moved on
        for _ in range(3):
            victim = chance.choice(members[1:])
            victim.kill()
            victim.start()
            time.sleep(2)
        kafka.kill()
        kafka.start()
        time.sleep(3)
        frozen.thaw()
        time.sleep(2)
        stop.set()
        writer.join()
        wait_for(lambda: not Change.objects.filter(queue="kafka").exists(), "all changes are published", 90)
        wait_for(lambda: are_equal(mongo), "all replicas are equal to the table", 90)
        wait_for(
            lambda: Worker.objects.filter(queue="kafka:stories_2", note="0 messages behind").exists(),
            "the worker is up to date",
            30,
        )
    messages = kafka.read(TOPIC)
    for key in KEYS:
        states = [document(message) for message in messages if message.key().decode() == key]
        seen = [state["diggs"] for state in states if state]
        assert seen == sorted(seen), "the topic has the states of a row out of order"
    assert len(messages) > 3 * len(KEYS)
    for name in REPLICAS:
        call_command("sync", "consume", "story", "--to", name, "--from-beginning", "--once")
    assert are_equal(mongo), "replaying all messages changed a replica"
