"""A member of a consumer group: reads topics, and gives what it reads to a sink, batch by batch, until stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError

from sync import mysql
from sync.heartbeat import CONSUMER, RelayHeart
from sync.kafka.client import Trouble, refused, settings
from sync.kafka.dead import DeadLetters
from sync.kafka.replica import Bury, Moved, Place, Span, offset_of, place_of
from sync.mongo import Unavailable
from sync.recovering import forget_connection
from sync.relay import LONGEST_PAUSE
from sync.stopping import Stop

logger = logging.getLogger(__name__)


class Gap(Exception):
    """Messages were removed before they were read. Says so in one line, and what to do."""


class Sink(Protocol):
    """Where messages go."""

    def place(self, consumer: Consumer, places: Sequence[Place], rewound: Sequence[Place]) -> list[TopicPartition]:
        """Where to go on reading in each partition."""

    def apply(self, messages: Sequence[Message], spans: Mapping[Place, Span], bury: Bury) -> None:
        """Takes a batch; whatever it cannot take is buried."""


class ConsumerHeart(RelayHeart):
    """A consumer's: it also tells how many messages it is behind."""

    lag = 0

    def _figures(self) -> dict[str, Any]:
        figures = super()._figures()
        figures["lags"]["messages"] = self.lag
        return figures


class Member:
    """One member of the group; any number of them share the partitions, each of which one of them has.

    from_beginning: reads every partition again that it gets, once. once: ends when it has read all there is.
    """

    def __init__(
        self,
        topics: Sequence[str],
        group: str,
        sink: Sink,
        *,
        batch: int,
        lane: str = "",
        interval: float = 1.0,
        from_beginning: bool = False,
        once: bool = False,
        using: str = DEFAULT_DB_ALIAS,
        stop: Stop | None = None,
    ) -> None:
        self.topics = topics
        self.sink = sink
        self.batch = batch
        self.interval = interval
        self.from_beginning = from_beginning
        self.once = once
        self.stop = stop or Stop()
        self.kafka = Trouble()
        self.trouble = ""
        self.dead = DeadLetters()
        self.heart = ConsumerHeart(using, lane, CONSUMER)
        self.applied = self.buried = 0
        self.joined = self.placed = False
        self.assigned: list[Place] = []
        self.rewound: set[Place] = set()
        self.positions: dict[Place, int] = {}
        self.ended: set[Place] = set()  # partitions that are read to their end
        ours = {
            "group_id": group, "enable_auto_commit": False, "auto_offset_reset": "error", "enable_partition_eof": True,
            "isolation_level": "read_committed", "group_protocol": "classic", "partition_assignment_strategy": "range",
        }  # fmt: skip
        try:
            self.consumer = Consumer(settings(self.kafka, **ours))
        except KafkaException as error:
            raise refused(error) from error

    def run(self) -> None:
        """Reads until `stop` is set. Raises Gap, and with `once` Unavailable too."""
        with self.heart.beating(lambda: self.trouble or f"{self.heart.lag:,} messages behind"):
            self.consumer.subscribe(
                list(self.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
            try:
                self._run()
            finally:
                self.consumer.close()

    def _run(self) -> None:
        pause = 0.0
        while not self.stop.is_set() and not self._is_done():
            try:
                self._step()
                pause = 0.0
            except Moved:
                self.placed = False  # another member has gone on; so do we, from there
            except (Unavailable, OperationalError, InterfaceError) as error:
                if self.once:
                    raise
                self.placed = False
                pause = min(max(2 * pause, 1.0), LONGEST_PAUSE)
                self._say(mysql.reason(error))
                forget_connection(DEFAULT_DB_ALIAS)
            self.heart.at_work(False)
            if pause:
                self.stop.wait(pause)

    def _is_done(self) -> bool:
        return self.once and self.joined and self.placed and self.ended >= set(self.assigned)

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.error("%s. Nothing is lost; trying again until it is back.", trouble)
        elif self.trouble and not trouble:
            logger.info("Consuming again.")
        self.trouble = trouble

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Nothing is read before it is known where to go on, which takes servers that may be away.
        self.assigned = [(one.topic, one.partition) for one in partitions]
        self.joined, self.placed = True, False
        consumer.assign([])

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned, self.placed = [], False
        consumer.unassign()

    def _place(self) -> None:
        self.positions, self.ended = {}, set()
        self.consumer.assign([])
        if self.assigned:
            again = [place for place in self.assigned if self.from_beginning and place not in self.rewound]
            found = self.sink.place(self.consumer, self.assigned, again)
            self.consumer.assign(found)
            self.rewound.update(again)
            self.positions = {(one.topic, one.partition): max(one.offset, 0) for one in found}
        self.placed = True

    def _step(self) -> None:
        if not self.placed:
            self._place()
        self.heart.at_work(True)
        try:
            first = self.consumer.poll(self.interval)
            # What has come by now, and no waiting for more than a moment: a batch is not worth being late for.
            # (A message without a value is false.)
            more = [] if first is None else self.consumer.consume(self.batch - 1, timeout=0.01)
            messages = [] if first is None else [first, *more]
        except KafkaException as error:
            raise self.kafka.unavailable(error) from error
        if not self.placed:  # partitions came or went meanwhile, and what was read may not be ours any more
            return
        good = [message for message in messages if not self._is_notice(message)]
        if good:
            self._apply(good)
            self._say("")
        elif self.kafka.is_away or self.trouble:
            self._ask()
        self.heart.lag = self._lag()

    def _is_notice(self, message: Message) -> bool:
        """Whether it is not a message but says something of its partition. Raises Unavailable, and Gap."""
        error, place = message.error(), place_of(message)
        if error is None:
            self.ended.discard(place)
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            self.ended.add(place)
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise Gap(
                f"{place[0]}/{place[1]} has nothing at offset {self.positions.get(place, 0)}: messages were removed "
                "before they were read. Read what there is with --from-beginning, then publish all rows: sync backfill."
            )
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and not self.once:
            logger.warning("There is no topic %s yet; it is read as soon as there is.", place[0])
            return True
        raise self.kafka.unavailable(error)

    def _apply(self, messages: list[Message]) -> None:
        """Gives one batch to the sink, what cannot be taken to the dead letters, and then moves on."""
        spans: dict[Place, Span] = {}
        for message in messages:
            place = place_of(message)
            spans[place] = (self.positions[place], offset_of(message) + 1)
        buried: list[Message] = []

        def bury(message: Message, why: str) -> None:
            self.dead.bury(message, why)
            self.dead.flush()
            buried.append(message)

        self.sink.apply(messages, spans, bury)
        self.positions |= {place: after for place, (_, after) in spans.items()}
        self.consumer.commit(offsets=[TopicPartition(*place, after) for place, (_, after) in spans.items()])
        self.applied += len(messages) - len(buried)
        self.buried += len(buried)
        self.heart.count(len(messages), [])

    def _ask(self) -> None:
        """Nothing comes: because there is nothing, or because Kafka is away? Raises Unavailable."""
        try:
            self.consumer.list_topics(self.topics[0], timeout=self.interval)
        except KafkaException as error:
            raise self.kafka.unavailable(error) from error
        self.kafka.is_away = False
        self._say("")

    def _lag(self) -> int:
        lag = 0
        for place, position in self.positions.items():
            if place not in self.ended:
                _, high = self.consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
                lag += max(high - position, 0)
        return lag
