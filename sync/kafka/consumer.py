"""A member of a consumer group: reads topics and passes the messages to a sink in batches until stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError

from sync.core import conf
from sync.core.humanize import counted
from sync.core.retry import forget_connection
from sync.kafka.client import Topics, Trouble, refused, settings
from sync.kafka.dead_letters import DeadLetters
from sync.kafka.position import Log, Loss, Moved, Place, Position, Span, offset_of, place_of, starts
from sync.mongodb.errors import Unavailable
from sync.workers.heartbeat import CONSUMER, WorkerHeartbeat
from sync.workers.lease import Paused
from sync.workers.loop import OUTAGES, Loop
from sync.workers.routes import Route, RoutePause
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)


WATCH = 5.0  # seconds between two checks that topics and cluster are still the same
NOTE = 60.0  # seconds between two records that partitions were read to their end
MARK = "sync"  # the metadata of offsets that this consumer commits; another program's offsets lack it
LOST = {KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE}

Reject = Callable[[Message, str], None]


class Sink(Protocol):
    """The target of messages. It also stores the position up to which messages were applied."""

    def kept(self, logs: Mapping[Place, Log]) -> dict[Place, Position]:
        """Return the saved positions of these partitions; partitions without one are omitted."""

    def start(self, positions: Mapping[Place, Position], lost: Mapping[Place, Loss]) -> list[str]:
        """Save these positions and recover from the losses. Return warnings, one line each.

        Raises Gap and saves nothing if the sink cannot recover.
        """

    def apply(self, messages: Sequence[Message], spans: Mapping[Place, Span], reject: Reject) -> None:
        """Apply a batch; reject messages that cannot be applied. Raises Moved if a saved position is not its span's."""

    def read_all(self, places: Collection[Place]) -> None:
        """Save that these partitions have been read to their end now."""

    def work(self) -> bool:
        """Do a part of the additional work. Return whether more may be left."""

    def knows(self, topic: str) -> bool:
        """Return whether a topic of this name was read before."""

    def left(self) -> list[str]:
        """Return the problems that remain after everything was read, one line each."""


class ConsumerHeartbeat(WorkerHeartbeat):
    """The heartbeat of a consumer, which also reports the number of messages not yet applied."""

    lag = 0

    def _values(self) -> dict[str, Any]:
        values = super()._values()
        values["lags"]["messages"] = self.lag
        return values


class Member:
    """One member of the group. Any number of members share the partitions; each partition has one member.

    from_beginning: read each assigned partition from its beginning, once. once: stop when everything is read.
    """

    def __init__(
        self,
        topics: Sequence[str],
        group: str,
        sink: Sink,
        *,
        batch: int,
        queue: str = "",
        interval: float = 1.0,
        from_beginning: bool = False,
        once: bool = False,
        using: str = DEFAULT_DB_ALIAS,
        stop: StopEvent | None = None,
    ) -> None:
        self.topics = topics
        self.sink = sink
        self.batch = batch
        self.interval = interval
        self.from_beginning = from_beginning
        self.once = once
        self.stop = stop or StopEvent()
        self.kafka = Trouble()
        self.route = Route.CONSUME.of(group)
        self.is_paused = RoutePause(self.route, using)
        self.loop = Loop(
            self.stop, logger, outages=() if once else OUTAGES, recover=lambda error: forget_connection(using)
        )  # fmt: skip
        self.in_sync_at: float | None = None  # time.time() until which every published message is applied
        self.dead = DeadLetters()
        self.heartbeat = ConsumerHeartbeat(using, queue, CONSUMER)
        self.applied = self.rejected = 0
        self.joined = self.placed = False
        self.assigned: list[Place] = []
        self.rewound: set[Place] = set()
        self.missing: set[str] = set()  # topics that do not exist
        self.identities: dict[str, tuple[str, str]] = {}
        self.next_watch = self.next_note = 0.0
        self.doubt = ""  # Kafka's error about a position
        self.positions: dict[Place, int] = {}
        self.ended: set[Place] = set()  # partitions that are read to their end
        self.ends: dict[Place, int] = {}  # the offsets of those ends, until they are saved
        ours = {
            "group_id": group, "enable_auto_commit": False, "auto_offset_reset": "error", "enable_partition_eof": True,
            "isolation_level": "read_committed", "group_protocol": "classic", "partition_assignment_strategy": "range",
        }  # fmt: skip
        self.cluster = Topics()
        try:
            self.consumer = Consumer(settings(self.kafka, **ours))
        except KafkaException as error:
            raise refused(error) from error

    def run(self) -> None:
        """Read until `stop` is set. Raises Gap and, with `once`, also Unavailable and Paused."""
        if self.once and self.is_paused():
            raise Paused(self.route)
        with self.heartbeat.beating(self._note, lambda: {self.route: self.behind}):
            self.consumer.subscribe(
                list(self.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
            try:
                self.loop.run(self._round, self._is_paused)
            finally:
                with suppress(Unavailable, OperationalError, InterfaceError):
                    self._keep_that_all_is_read()
                self.consumer.close()
        if self.once and self.is_paused():
            raise Paused(self.route)

    def _note(self) -> str:
        return self.loop.trouble or f"{counted(self.heartbeat.lag, 'message', 'messages')} behind"

    def _round(self) -> bool:
        """Do one step; with `once`, stop the loop when everything is read. Return whether Kafka was available."""
        try:
            works = self._step()
        except Moved:
            self.placed = works = False  # another member has continued; continue from its position
        except OUTAGES:
            self.placed = False
            raise
        finally:
            self.heartbeat.at_work(False)
        if self._is_done():
            self.stop.set()
        return works

    def _is_paused(self) -> bool:
        """Return whether an operator has paused the group. A paused member stays in the group and reads nothing."""
        if not self.is_paused():
            return False
        if self.once:
            self.stop.set()
        if self.placed:
            self.consumer.assign([])
            self.placed = False
        self.consumer.poll(0)
        return True

    def _keep_that_all_is_read(self) -> None:
        self.next_note = time.monotonic() + NOTE
        if self.placed and (read := self.ended.intersection(self.assigned)):
            self.sink.read_all(read)

    def _is_done(self) -> bool:
        if not self.once:
            return False
        if self.missing >= set(self.topics):
            raise Unavailable(f"No such topic: {', '.join(self.topics)}")
        return self.joined and self.placed and self.ended >= set(self.assigned) and not self.sink.work()

    @property
    def behind(self) -> float | None:
        """Seconds that this member is behind its partitions; None until it has read messages."""
        return None if self.in_sync_at is None else max(time.time() - self.in_sync_at, 0.0)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Read nothing until `_place` has found the positions; it needs servers that may be unreachable.
        self.assigned = [(one.topic, one.partition) for one in partitions]
        self.joined, self.placed = True, False
        self.missing -= {topic for topic, _ in self.assigned}
        consumer.assign([])

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned, self.placed = [], False
        consumer.unassign()

    def _place(self) -> None:
        """Find the position at which each partition continues, and detect lost messages."""
        self.consumer.assign([])
        # Without partitions there are no messages, but polling may still return a notice about the group.
        if (notice := self.consumer.poll(0)) is not None:
            self._is_notice(notice)
        self.positions, self.ended, self.ends = {}, set(), {}
        doubt, self.doubt = self.doubt, ""
        if self.assigned:
            logs = self.cluster.logs(self.assigned)
            kept = self.sink.kept(logs)
            again = {place for place in self.assigned if self.from_beginning and place not in self.rewound}
            new, lost = starts(logs, kept, again)
            if doubt and not lost:
                raise Unavailable(doubt)
            self._compare_with_group(kept)
            for line in self.sink.start(new, lost) if new else []:
                logger.error("%s", line)
            self.rewound |= again
            self.positions = {place: position.offset for place, position in {**kept, **new}.items() if place in logs}
            self.consumer.assign([TopicPartition(*place, offset) for place, offset in self.positions.items()])
            self.identities = {topic: (log.cluster, log.topic_id) for (topic, _), log in logs.items()}
        self.placed = True
        self.next_watch = time.monotonic() + WATCH

    def _compare_with_group(self, kept: Mapping[Place, Position]) -> None:
        """Warn an operator who has set the group's offsets in Kafka that they have no effect."""
        try:
            found = self.consumer.committed([TopicPartition(*place) for place in kept], timeout=conf.TIMEOUT)
        except KafkaException as error:
            raise self.kafka.unavailable(error) from error
        for one in found:
            position = kept[one.topic, one.partition].offset
            if one.offset >= 0 and one.metadata != MARK and one.offset != position:
                logger.warning(
                    "The group's offset of %s/%d was set to %d in Kafka. This has no effect: the consumer continues "
                    "at its own position, %d. To read all messages again, start it with --from-beginning.",
                    one.topic, one.partition, one.offset, position,
                )  # fmt: skip

    def _watch(self) -> None:
        """Check whether a topic was created again, or the address leads to another cluster. Raises Unavailable."""
        if self.assigned and time.monotonic() > self.next_watch:
            self.next_watch = time.monotonic() + WATCH
            if self.cluster.identities(self.identities) != self.identities:
                self.placed = False
            elif time.monotonic() > self.next_note:
                self._keep_that_all_is_read()

    def _step(self) -> bool:
        if self.placed:
            self._watch()
        if not self.placed:
            self._place()
        self.heartbeat.at_work(True)
        asked_at = time.time()
        try:
            first = self.consumer.poll(self.interval)
            # Take the messages that have already arrived, with almost no wait: a larger batch is not worth a delay.
            # (A message without a value is falsy.)
            more = [] if first is None else self.consumer.consume(self.batch - 1, timeout=0.01)
            messages = [] if first is None else [first, *more]
        except KafkaException as error:
            raise self.kafka.unavailable(error) from error
        if not self.placed:  # reassigned meanwhile: the messages may be of another member's partitions
            return False
        good = [message for message in messages if not self._is_notice(message)]
        spans = self._spans(good)
        if spans:
            self._apply(good, spans)
        elif self.kafka.is_unreachable or self.loop.trouble:
            self._ask()
        self.sink.work()
        self.heartbeat.lag = self._lag()
        if not self.heartbeat.lag:
            self.in_sync_at = asked_at
        elif good:
            self.in_sync_at = good[-1].timestamp()[1] / 1000
        return bool(spans) or not self.missing

    def _is_notice(self, message: Message) -> bool:
        """Handle a notice about a partition. Return whether this was a notice and not a message. Raises Unavailable."""
        error, place = message.error(), place_of(message)
        if error is None:
            self.ended.discard(place)
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            self.ended.add(place)
            self.ends[place] = offset_of(message)
        elif error.code() in LOST:
            self.doubt, self.placed = f"Kafka is unavailable: {place[0]}/{place[1]}: {error.str()}", False
        elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            if place[0] not in self.missing:
                logger.warning("The topic %s does not exist. The consumer reads it as soon as it does.", place[0])
            self.missing.add(place[0])
        else:
            raise self.kafka.unavailable(error)
        return True

    def left(self) -> list[str]:
        """Return the problems that remain after everything was read, one line each. Raises Unavailable."""
        absent = set(self.topics) - self.cluster.partitions(self.topics).keys()
        missing = [
            f"The topic {topic} was read before and is missing: it was deleted or renamed."
            for topic in sorted(absent)
            if self.sink.knows(topic)
        ]
        return missing + self.sink.left()

    def _spans(self, messages: list[Message]) -> dict[Place, Span]:
        """Return the span that was read of each partition.

        At a partition's end the span includes the transaction markers after its last message, which carry no data.
        """
        spans: dict[Place, Span] = {}
        for message in messages:
            place = place_of(message)
            spans[place] = (self.positions[place], offset_of(message) + 1)
        for place, end in self.ends.items():
            if place in self.ended and end > max(self.positions[place], spans.get(place, (0, 0))[1]):
                spans[place] = (self.positions[place], end)
        self.ends.clear()
        return spans

    def _apply(self, messages: list[Message], spans: dict[Place, Span]) -> None:
        """Apply one batch, move rejected messages to dead letters, and advance the positions."""
        rejected: list[Message] = []

        def reject(message: Message, why: str) -> None:
            self.dead.add(message, why)
            self.dead.flush()
            rejected.append(message)

        self.sink.apply(messages, spans, reject)
        self.positions |= {place: after for place, (_, after) in spans.items()}
        self.consumer.commit(offsets=[TopicPartition(*place, after, MARK) for place, (_, after) in spans.items()])
        self.applied += len(messages) - len(rejected)
        self.rejected += len(rejected)
        self.heartbeat.count(len(messages), [])

    def _ask(self) -> None:
        """Check, when no messages arrive, whether Kafka responds. Raises Unavailable."""
        try:
            self.consumer.list_topics(self.topics[0], timeout=self.interval)
        except KafkaException as error:
            raise self.kafka.unavailable(error) from error
        self.kafka.is_unreachable = False

    def _lag(self) -> int:
        lag = 0
        for place, position in self.positions.items():
            if place not in self.ended:
                _, high = self.consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
                lag += max(high - position, 0)
        return lag
