"""Publishing: send rows to Kafka instead of writing documents to MongoDB. Retries and dead letters are the relay's.

A message carries the row's state without a version, so the messages of a key must be in the order of its states:

1. Kafka's transactional id lets only one publisher be active. A publisher that starts fences the previous one, and
   waits until the previous one's open transaction has been committed or aborted.
2. The publisher reads rows after that, and after its own previous transaction. So a key's next message always has a
   state that was read later than that of its last message.
3. A fenced publisher can neither send nor commit, however long it was frozen: Kafka rejects its epoch. Consumers never
   see messages that it sent without a commit.
4. Changes are removed after the commit, when every in-sync replica has the messages.

Because only one publisher is active, it does not claim changes. A publisher that freezes between the commit and the
removal of its changes removes, when it wakes up, only changes that it has sent.

For a deleted row, the publisher sends a message without a value. No older message can follow it, so a delete need not
settle. Any message may be published twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.core.exceptions import ImproperlyConfigured

from sync.core import conf
from sync.core.batching import chunks
from sync.core.humanize import counted
from sync.kafka.client import Topics, Trouble, refused, settings, topic
from sync.kafka.messages import encode, partition_of
from sync.mapping.registry import Target, published
from sync.mongodb.errors import Unavailable
from sync.outbox.mongo_writer import Fenced, Outcome, State, bisecting, explain, read_documents, to_pk

logger = logging.getLogger(__name__)

# Errors that a broker returns because of one message, not because of its own state.
OF_THE_MESSAGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD}
NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}


class _Place(NamedTuple):
    topic: str
    partitions: int


class Publisher:
    """A Writer that sends rows to topics. Only one thread may use it; the first use creates the producer."""

    exclusive = True

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.producer: Producer | None = None
        # A call that timed out. It must be repeated until it completes, before any other call.
        self.unfinished: Callable[[float], Any] | None = None

    def confirmed(self, target: Target, tokens: Mapping[str, str]) -> set[str]:
        raise NotImplementedError("A publisher is exclusive: its commit confirms its changes.")

    def deliver(self, target: Target, keys: Collection[str], using: str, token: str) -> Outcome:
        """Send the current state of these rows in one transaction.

        Raises Unavailable if Kafka is unavailable, Fenced if another publisher has taken over, OperationalError or
        InterfaceError if the database is unavailable, ImproperlyConfigured if settings and topics do not match.
        """
        self.connect()
        return bisecting(lambda part: self._send(target, part, using), keys)

    def connect(self) -> None:
        """Replace the previous publisher. Raises the same errors as `deliver`."""
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

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error:
                errors.append(error)

        try:
            self.connect()
        except ImproperlyConfigured as error:  # not caused by a row; the next round reports it
            raise Unavailable(str(error)) from error
        assert self.producer is not None
        producer, place = self.producer, _Place(topic(target), conf.KAFKA_PARTITIONS)
        try:
            producer.begin_transaction()
            for part in chunks(list(keys)):  # Kafka gets the messages of one part while the next part is read
                documents = read_documents(target, part, using, outcome)
                for key in part:
                    if key in outcome.states:  # its row cannot be read
                        continue
                    self._produce(producer, place, target, key, documents, outcome, on_delivery)
            # Do not commit after a message has failed: the commit would wait for messages that are never sent.
            give_up = time.monotonic() + conf.TIMEOUT
            while producer.flush(0.1) and not errors and time.monotonic() < give_up:
                pass
            if errors:
                raise KafkaException(errors[0])
            self._finish(producer.commit_transaction)
        except (Unavailable, Fenced):
            raise
        except KafkaException as error:
            if error.args[0].code() in OF_THE_MESSAGE:  # caused by one of these rows: bisecting finds it
                self._give_up()  # after such an error, librdkafka may wait forever instead of aborting
                raise ValueError(f"Kafka: {error.args[0].str()}") from error
            if error.args[0].code() in NO_TOPIC:
                self._give_up()  # the next producer creates the topic
                raise self.trouble.unavailable(error) from error
            self._finish(producer.abort_transaction)  # raises Fenced if this publisher is fenced
            raise self.trouble.unavailable(error, self.producer) from error
        except BaseException:
            self._finish(producer.abort_transaction)
            raise
        return outcome

    def _produce(
        self, producer: Producer, place: _Place, target: Target, key: str, documents: Mapping[str, Any],
        outcome: Outcome, on_delivery: Callable[..., None],
    ) -> None:  # fmt: skip
        try:
            # A key may have several spellings; all must go to the same partition.
            canonical = str(to_pk(target.model, key))
            document = documents.get(key)
            value = encode(document) if document is not None else None
        except Exception as error:  # what JSON's library cannot write; the other rows continue
            outcome.reject(key, explain(error))
            return
        partition = partition_of(canonical, place.partitions)
        while True:
            try:
                producer.produce(place.topic, key=canonical, value=value, partition=partition, on_delivery=on_delivery)
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
        """Begin, commit or abort a transaction. A call that times out is repeated by the next `connect`."""
        self.unfinished, producer = call, self.producer
        try:
            call(conf.TIMEOUT)
        except KafkaException as error:
            failure = error.args[0]
            if failure.code() in FENCED:
                raise Fenced(
                    "Another publisher has taken over, or this one was frozen for too long, so Kafka rejects its "
                    "messages. Nothing is lost. Start this one again only if it should replace the other."
                ) from error
            if failure.txn_requires_abort() and producer is not None and call != producer.abort_transaction:
                self._finish(producer.abort_transaction)
            elif not failure.retriable() or (producer is not None and call == producer.abort_transaction):
                self._give_up()
            raise self.trouble.unavailable(failure, producer) from error
        self.unfinished = None

    def _give_up(self) -> None:
        """Drop the producer. The next one first fences it and aborts its open transaction."""
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
            "Created the topic %s, which did not exist or was deleted. It has only rows that change from now on. To "
            "publish all rows, run: manage.py sync backfill %s", name, by_name[name].model._meta.model_name,
        )  # fmt: skip
    for name, partitions in topics.partitions(names).items():
        if partitions < conf.KAFKA_PARTITIONS:
            there = counted(partitions, "partition", "partitions")
            raise ImproperlyConfigured(
                f"The topic {name} has {there}, but SYNC_KAFKA_PARTITIONS is {conf.KAFKA_PARTITIONS}. A key must not "
                "move to another partition: set the number that the topic was created with, or use another topic."
            )
