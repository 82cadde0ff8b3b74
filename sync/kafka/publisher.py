"""Publishing: rows are sent to Kafka instead of written to MongoDB. Retries and parking are a relay's.

A message carries the row's state and no version, so that messages of one key must be in the order of the states:

1. One publisher is active, by Kafka's own means: its transactional id. Whoever starts later fences whoever was there,
   and waits until the other's open transaction has ended, one way or the other.
2. Rows are read after that, and after the transaction before has ended. So whatever state a key's last message has,
   the next one was read later.
3. One that is fenced can neither send nor commit, however long it was frozen: Kafka refuses its epoch. What it has sent
   and not committed, no consumer is shown.
4. Changes are removed when the transaction is committed: then every replica in sync has the messages.

Since one is active, changes are not claimed. One that was frozen before it removed some removes what it has sent.

Where the row is gone a message without a value is sent. Nothing older can follow it, so a delete need not settle.
Everything may be published twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.core.exceptions import ImproperlyConfigured

from sync.core import conf
from sync.core.humanize import counted
from sync.kafka.client import Topics, Trouble, refused, settings, topic
from sync.kafka.messages import encode, partition_of
from sync.mapping.registry import Target, published
from sync.mongodb.errors import Unavailable
from sync.outbox.mongo_writer import Fenced, Outcome, State, bisecting, explain, read_rows, to_pk

logger = logging.getLogger(__name__)

# What a broker says of one message and not of its own state.
OF_THE_MESSAGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD}
NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}


class _Place(NamedTuple):
    topic: str
    partitions: int


class Publisher:
    """A Writer that sends rows to topics. One thread uses it; the producer is made at its first use."""

    exclusive = True

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.producer: Producer | None = None
        # A call that has not ended in time has to be repeated until it has, before any other.
        self.unfinished: Callable[[float], Any] | None = None

    def confirmed(self, target: Target, tokens: Mapping[str, str]) -> set[str]:
        raise NotImplementedError("only one publisher may run")

    def deliver(self, target: Target, keys: Collection[str], using: str, token: str) -> Outcome:
        """Sends these rows as they are now, in one transaction.

        Raises Unavailable when Kafka does not serve, Fenced when another publisher has taken over, OperationalError or
        InterfaceError when the database does not serve, ImproperlyConfigured for settings and topics that do not fit.
        """
        self.connect()
        return bisecting(lambda part: self._send(target, part, using), keys)

    def connect(self) -> None:
        """Takes the place of whoever published before. Raises as `deliver` does."""
        if self.unfinished and not _have_topics():
            self._give_up()  # it waits for a topic that was deleted
        if self.producer is None:
            _make_topics()
            ours = {
                "transactional_id": f"{conf.KAFKA_PREFIX}.publisher", "linger_ms": 5,
                "delivery_report_only_error": True,
            }  # fmt: skip
            try:
                self.producer = Producer(settings(self.trouble, **ours))
            except KafkaException as error:
                raise refused(error) from error
            self._finish(self.producer.init_transactions)
        elif self.unfinished:
            self._finish(self.unfinished)

    def _send(self, target: Target, keys: Collection[str], using: str) -> Outcome:
        outcome = Outcome()
        errors: list[KafkaError] = []

        def told(error: KafkaError | None, message: Message) -> None:
            if error:
                errors.append(error)

        try:
            self.connect()
        except ImproperlyConfigured as error:  # no row's fault; the next round says it
            raise Unavailable(str(error)) from error
        assert self.producer is not None
        producer, place = self.producer, _Place(topic(target), conf.KAFKA_PARTITIONS)
        try:
            producer.begin_transaction()
            rows = read_rows(target.model, list(keys), using, outcome)
            for key in keys:
                if key in outcome.states:  # its row cannot be read
                    continue
                self._produce(producer, place, target, key, rows, outcome, told)
            # A commit would wait for what is not sent any more once a message has failed.
            give_up = time.monotonic() + conf.TIMEOUT
            while producer.flush(0.1) and not errors and time.monotonic() < give_up:
                pass
            if errors:
                raise KafkaException(errors[0])
            self._finish(producer.commit_transaction)
        except (Unavailable, Fenced):
            raise
        except KafkaException as error:
            if error.args[0].code() in OF_THE_MESSAGE:  # one of these rows: bisecting finds it
                self._give_up()  # after such an error librdkafka may wait for a message in vain, and not abort
                raise ValueError(f"Kafka: {error.args[0].str()}") from error
            if error.args[0].code() in NO_TOPIC:
                self._give_up()  # the next one makes it
                raise self.trouble.unavailable(error) from error
            self._finish(producer.abort_transaction)  # says so when the reason is that we are fenced
            raise self.trouble.unavailable(error, self.producer) from error
        except BaseException:
            self._finish(producer.abort_transaction)
            raise
        return outcome

    def _produce(
        self, producer: Producer, place: _Place, target: Target, key: str, rows: Mapping[str, Any],
        outcome: Outcome, told: Callable[..., None],
    ) -> None:  # fmt: skip
        try:
            # A key may be written in several ways, and has one place.
            canonical = str(to_pk(target.model, key))
            row = rows.get(key)
            value = encode(row) if row is not None else None
        except Exception as error:  # an application's own mapping may raise anything; the other rows go on
            outcome.reject(key, explain(error))
            return
        partition = partition_of(canonical, place.partitions)
        while True:
            try:
                producer.produce(place.topic, key=canonical, value=value, partition=partition, on_delivery=told)
                break
            except BufferError:  # librdkafka's queue is full
                producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() not in OF_THE_MESSAGE:
                    raise
                outcome.reject(key, f"Kafka: {error.args[0].str()}")
                return
        outcome.states[key] = State.DELIVERED

    def _finish(self, call: Callable[[float], Any]) -> None:
        """Begins, ends or aborts a transaction. What does not respond in time is repeated the next time."""
        self.unfinished, producer = call, self.producer
        try:
            call(conf.TIMEOUT)
        except KafkaException as error:
            failure = error.args[0]
            if failure.code() in FENCED:
                raise Fenced(
                    "Another publisher has taken over, or this one stood still for too long: Kafka takes nothing from "
                    "it any more. Nothing is lost. Restart this one to let it take over again."
                ) from error
            if failure.txn_requires_abort() and producer is not None and call != producer.abort_transaction:
                self._finish(producer.abort_transaction)
            elif not failure.retriable() or (producer is not None and call == producer.abort_transaction):
                self._give_up()
            raise self.trouble.unavailable(failure, producer) from error
        self.unfinished = None

    def _give_up(self) -> None:
        """Drops the producer. The next one begins by having what this one has left aborted, and by fencing it."""
        if self.producer is not None:
            self.producer.purge(blocking=False)
        self.producer = self.unfinished = None


def _have_topics() -> bool:
    names = {topic(target) for target in published()}
    return Topics().partitions(names).keys() >= names


def _make_topics() -> None:
    topics, by_name = Topics(), {topic(target): target for target in published()}
    names = list(by_name)
    for name in topics.make(names, conf.KAFKA_PARTITIONS):
        logger.warning(
            "The topic %s was missing and has been created. It lacks rows that do not change: to "
            "publish them, run: manage.py sync backfill %s", name, by_name[name].model._meta.model_name,
        )  # fmt: skip
    for name, partitions in topics.partitions(names).items():
        if partitions < conf.KAFKA_PARTITIONS:
            there = counted(partitions, "partition", "partitions")
            raise ImproperlyConfigured(
                f"The topic {name} has {there}, SYNC_KAFKA_PARTITIONS says {conf.KAFKA_PARTITIONS}. "
                "A key must not move to another partition: set the topic's number of partitions, or name another topic."
            )
