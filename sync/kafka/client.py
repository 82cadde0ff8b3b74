"""What publisher and consumer have in common: the settings of librdkafka, topics, and its errors in one line."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic
from django.core.exceptions import ImproperlyConfigured

from sync import conf
from sync.mongo import Unavailable
from sync.registry import Target

SECRET = ("password", "secret", "key", "pem", "config", "token")  # of the names of settings whose values are not shown
NO_ANSWER = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT_QUEUE}
NO_TIME = KafkaError(KafkaError._TIMED_OUT)
DAYS = 24 * 3600 * 1000  # in milliseconds
# A topic is the newest state of each key: whoever reads it from the beginning has all there is. What a delete leaves
# is kept long enough for a consumer that was away to hear of it.
COMPACTED = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAYS)}

# It says the same at every try; we say it once. A handler put on this logger shows all of it.
LIBRDKAFKA = logging.getLogger("librdkafka")
LIBRDKAFKA.addHandler(logging.NullHandler())
LIBRDKAFKA.propagate = False


class Trouble:
    """What librdkafka tells of a client in passing: why it waits is here, and not in the error that says it waited."""

    def __init__(self) -> None:
        self.last = ""
        self.is_away = False

    def __call__(self, error: KafkaError) -> None:
        if error.code() in NO_ANSWER:
            self.is_away = True
        else:
            self.last = error.str().split(" (after ")[0]

    def unavailable(self, error: KafkaException | KafkaError) -> Unavailable:
        """The error to raise when Kafka does not serve; in the same words while the reason is the same."""
        first = error if isinstance(error, KafkaError) else error.args[0]
        why = self.last or f"no answer from {conf.KAFKA['bootstrap.servers']}"
        if first.code() not in NO_ANSWER:
            why = first.str() or first.name()
        self.last = ""
        return Unavailable(f"Kafka does not serve: {without_secrets(why)}")


def without_secrets(text: str) -> str:
    """`text` without the values of settings that are nobody's business."""
    for name, value in conf.KAFKA.items():
        if any(part in name for part in SECRET) and str(value):
            text = text.replace(str(value), "***")
    return text


def settings(trouble: Trouble, **ours: Any) -> dict[str, Any]:
    """SYNC_KAFKA, and what this client cannot work without. What librdkafka says goes to the logger of its name."""
    if not conf.KAFKA.get("bootstrap.servers"):
        raise ImproperlyConfigured('SYNC_KAFKA does not say where Kafka is: {"bootstrap.servers": "host:9092"}')
    defaults = {"client.id": "sync", "logger": LIBRDKAFKA, "reconnect.backoff.max.ms": 2000}
    defaults["topic.metadata.refresh.interval.ms"] = 30_000  # a topic that is made later is read this soon
    return {**defaults, **conf.KAFKA, "error_cb": trouble, **{name.replace("_", "."): ours[name] for name in ours}}


def refused(error: KafkaException) -> ImproperlyConfigured:
    """The error to raise when librdkafka does not take the settings."""
    return ImproperlyConfigured(f"SYNC_KAFKA: {without_secrets(error.args[0].str())}")


def topic(target: Target) -> str:
    """The topic that a target of the lane names, or SYNC_KAFKA_PREFIX and the table."""
    return target.name.partition(":")[2] or f"{conf.KAFKA_PREFIX}.{target.model._meta.db_table}"


class Topics:
    """The cluster's topics."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        try:
            self.admin = AdminClient(settings(self.trouble))
        except KafkaException as error:
            raise refused(error) from error

    def partitions(self, names: Collection[str]) -> dict[str, int]:
        """How many partitions each of these has; without those that do not exist. Raises Unavailable."""
        try:
            found = self.admin.list_topics(timeout=conf.TIMEOUT).topics
        except KafkaException as error:
            raise self.trouble.unavailable(error) from error
        return {name: len(found[name].partitions) for name in names if name in found and not found[name].error}

    def make(self, names: Collection[str], partitions: int, config: dict[str, str] = COMPACTED) -> None:
        """Makes those that do not exist, with as many copies as the cluster makes by default. Raises Unavailable."""
        missing = set(names) - self.partitions(names).keys()
        new = [NewTopic(name, partitions, -1, config=config) for name in missing]
        for name, done in (self.admin.create_topics(new) if new else {}).items():
            try:
                done.result(conf.TIMEOUT)
            except TimeoutError as error:
                raise self.trouble.unavailable(NO_TIME) from error
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise Unavailable(f"The topic {name} cannot be made: {error.args[0].str()}") from error

    def ids(self, names: Collection[str]) -> dict[str, str]:
        """What tells a topic from one of the same name that was there before. Raises Unavailable."""
        asked = self.admin.describe_topics(TopicCollection(list(names)), request_timeout=conf.TIMEOUT)
        try:
            return {name: str(done.result(conf.TIMEOUT).topic_id) for name, done in asked.items()}
        except TimeoutError as error:
            raise self.trouble.unavailable(NO_TIME) from error
        except KafkaException as error:
            raise self.trouble.unavailable(error) from error
