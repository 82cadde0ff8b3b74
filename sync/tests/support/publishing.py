"""Helpers for the tests of publishing and consuming: stories, processes, and the messages of a topic."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

from bson import json_util
from confluent_kafka import Message
from django.db import connection
from pymongo.database import Database

from examples.news.models import Story
from sync.kafka.publisher import Publisher
from sync.mapping.extended_json import DOCUMENTS
from sync.outbox.mongo_writer import State
from sync.outbox.relay import Relay
from sync.tests.support.processes import Process, manage
from sync.workers.heartbeat import PUBLISHER
from tests.kafka import Kafka

TOPIC = "story-events"
NUMBERS = itertools.count(1)


def story(**values: Any) -> Story:
    """Save a story and return it."""
    number = next(NUMBERS)
    defaults: dict[str, Any] = {
        "story_id": str(number), "href": f"http://news.example/{number}", "title": f"Story {number}",
        "submit_date": 1268771801, "media": "news", "link": "http://example.com/", "status": "popular",
        "container": {"name": "Offbeat", "short_name": "offbeat"}, "user": {"name": "ada"},
    }  # fmt: skip
    return Story.objects.create(**{**defaults, **values})


def publish() -> dict[State, int]:
    """Publish all due changes with a new publisher."""
    return Relay("kafka", writer=Publisher(), kind=PUBLISHER).drain()


def kafka_command(kafka: Kafka, *arguments: str, **variables: str) -> Process:
    """Return the process of `manage.py sync ...` on this broker."""
    return manage("sync", *arguments, SYNC_KAFKA=json.dumps(kafka.settings), **variables)


def document(message: Message) -> dict[str, Any] | None:
    """Return the document of a message, decoded without the code under test; None for a delete."""
    value = message.value()
    return None if value is None else json_util.loads(value.decode(), json_options=DOCUMENTS)


def newest(messages: Iterable[Message]) -> dict[str, dict[str, Any]]:
    """Return the last document of each key of a topic, without deleted keys."""
    states = {message.key().decode(): document(message) for message in messages}
    return {key: state for key, state in states.items() if state is not None}


def rows() -> dict[str, tuple[str, int]]:
    """Return title and diggs of each story in the database by its key, read without the mirror."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT _id, title, diggs FROM news_story")
        return {key: (title, diggs) for key, title, diggs in cursor.fetchall()}


def replica(mongo: Database, name: str) -> dict[str, tuple[str, int]]:
    """Return title and diggs of each document of a replica by its key."""
    return {str(one["_id"]): (one["title"], one["diggs"]) for one in mongo[name].find()}
