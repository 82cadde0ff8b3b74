"""The relay: delivers what inline delivery has left. Any number of relays can run, and share the keys among them."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import pymongo
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from sync.core import conf, topology
from sync.core.batching import chunks
from sync.core.clock import DatabaseNow
from sync.core.retry import forget_connection
from sync.mapping.kinds import KINDS, kind_of
from sync.mapping.registry import queues
from sync.outbox import backfill
from sync.outbox.delivery import Remove, deliver_changes, remove_changes
from sync.outbox.models import WHOLE, Change, Shard, Taken
from sync.outbox.mongo_writer import State, Writer
from sync.workers.bell import bell
from sync.workers.heartbeat import BEAT, RELAY, SILENCE, Kind, WorkerHeartbeat
from sync.workers.lag import ages
from sync.workers.loop import Loop
from sync.workers.models import Worker
from sync.workers.shutdown import StopEvent

T = TypeVar("T")

logger = logging.getLogger(__name__)

PARTS = 4  # batches that each thread gets at a time
SHORTEST, INTERVAL = 0.01, 1.0  # seconds between two looks at the queue: after work, and when it has long been empty
SLOWER = 1.5  # each look at an empty queue makes the next pause longer by this factor
RANGES = 0.25  # seconds between two looks for ranges of a backfill
HELP = 2.0  # seconds for which changes must be due until a relay delivers those of another one's shard


def require_read_committed(using: str) -> None:
    """Raises ImproperlyConfigured for an isolation level, or a proxy, that would show a relay old rows."""
    connection: Any = connections[using]
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@session.transaction_isolation" if not connection.mysql_is_mariadb
                           else "SELECT @@session.tx_isolation")  # fmt: skip
            level = cursor.fetchone()[0]
        if level != "READ-COMMITTED":
            raise ImproperlyConfigured(
                f"The mirror requires READ COMMITTED, but this connection has {level}: "
                "set OPTIONS['isolation_level'] = 'read committed' in DATABASES."
            )
    topology.require_one_server(using)
    topology.announce(using)


class Relay:
    """Delivers the changes of one queue until stopped.

    stop: may be set from a signal handler or another thread. writer: by default that of the queue's kind.
    threads: that share many changes among them, by key. batch: changes delivered together.
    interval: seconds between two looks at an empty queue, at most; a change recorded on this machine ends the pause.
    kind: its name in the heartbeat. is_paused: whether the whole queue is paused. routes: see WorkerHeartbeat.beating.
    """

    def __init__(
        self,
        queue: str = "",
        *,
        batch: int | None = None,
        interval: float = INTERVAL,
        threads: int = 1,
        using: str = DEFAULT_DB_ALIAS,
        stop: StopEvent | None = None,
        writer: Writer | None = None,
        kind: Kind = RELAY,
        is_paused: Callable[[], bool] = lambda: False,
        routes: Callable[[], Mapping[str, float | None]] = dict,
    ) -> None:
        self.queue = queue
        self.writer: Writer = writer or kind_of(queue).writer()
        self.batch = batch or conf.BATCH
        self.threads = threads
        self.using = using
        self.changes = Change.objects.using(using)
        self.stop = stop or StopEvent()
        self.is_paused = is_paused
        self.routes = routes
        self.longest = interval
        self.next_ranges = self.next_help = 0.0
        self.is_idle = True  # the last look at the keys has found none
        self.loop = Loop(
            self.stop, logger, prefix=f"{queue}: " if queue else "",
            recover=lambda error: forget_connection(using),
        )  # fmt: skip
        self.heartbeat = WorkerHeartbeat(using, queue, kind)
        self.shards = Shards(self.heartbeat)

    def run(self) -> None:
        """Delivers until `stop` is set. Waits for the bell when nothing is due, and longer during an outage."""
        with self.heartbeat.beating(lambda: self.trouble, self.routes), bell(self.queue, self.using) as self.loop.heard:
            self.loop.run(self._step, self.is_paused)

    @property
    def trouble(self) -> str:
        """What it waits for, in one line; empty while it delivers."""
        return self.loop.trouble

    def _step(self) -> None:
        for_ranges = time.monotonic() > self.next_ranges
        try:
            counts = self._round(for_ranges=for_ranges)
        finally:
            self.heartbeat.at_work(False)
        if counts is None:
            self.loop.interval = min(max(self.loop.interval * SLOWER, SHORTEST), self.longest)
            if for_ranges:
                self.next_ranges = time.monotonic() + RANGES
        else:
            is_more_likely = sum(counts.values()) >= self.batch or not any(counts.values())
            self.loop.interval = 0.0 if is_more_likely else SHORTEST

    def drain(self, progress: Callable[[int], None] = lambda keys: None) -> dict[State, int]:
        """Delivers until nothing is due; returns how many keys came to which state. Raises Unavailable or Fenced.

        Returns earlier when it is stopped or paused.
        """
        totals = dict.fromkeys(State, 0)
        while not (self.stop.is_set() or self.is_paused()) and (counts := self._round(for_ranges=True)) is not None:
            for state, count in counts.items():
                totals[state] += count
            progress(sum(counts.values()))
        return totals

    def _round(self, *, for_ranges: bool) -> dict[State, int] | None:
        """Delivers what is due now, at most PARTS batches for each thread. Returns None if nothing was due.

        Changes of keys come first; each thread delivers one range of a backfill if no key is due.
        """
        if self.is_idle and not self.changes.any_due(self.queue):
            return None
        changes = self._look()
        self.is_idle = not changes
        if changes:
            self.heartbeat.at_work(True)
            return self._deliver(changes) if len(changes) <= self.batch else self._deliver_many(changes)
        if not (for_ranges and self.changes.due(self.queue, ranges=True).exists()):
            return None
        self.heartbeat.at_work(True)
        return self._deliver_ranges()

    def _deliver_ranges(self) -> dict[State, int] | None:
        """Delivers a range of a backfill in each thread. Returns None if none is due."""

        def work() -> tuple[str, dict[State, int]] | None:
            return backfill.work(self.using, queue=self.queue, writer=self.writer)

        found = [work()] if self._is_alone else self._in_threads([work] * self.threads)
        done = [each for each in found if each is not None]
        for label, counts in done:
            # A range's keys have no commit that they could lag behind.
            self._count(counts[State.DELIVERED] + counts[State.DELETED], [], {label})
        self.next_ranges = 0.0  # there may be more of them
        return _total(counts for _, counts in done) if done else None

    @property
    def _is_alone(self) -> bool:
        """Whether only this thread may deliver."""
        return self.writer.exclusive or self.threads == 1

    def _in_threads(self, acts: Sequence[Callable[[], T]]) -> list[T]:
        """The results, in order. Raises the first exception, when all have ended."""

        def run(act: Callable[[], T]) -> T:
            try:
                return act()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(self.threads, "delivering") as threads:
            done = [threads.submit(run, act) for act in acts]
        return [each.result() for each in done]

    def _look(self) -> list[Taken]:
        """The changes to deliver. Nobody claims them: several workers may deliver a key, and relays share the keys."""
        limit = self.batch * self.threads * PARTS
        mine = WHOLE if self.writer.exclusive else self.shards.mine()
        found = self.changes.look(self.queue, limit, mine)
        if not found and mine.of > 1 and time.monotonic() > self.next_help:
            found = self.changes.look(self.queue, limit, age=HELP)  # their relay may have been killed
            self.next_help = 0.0 if found else time.monotonic() + HELP / 2
        return found

    def _count(self, keys: int, changes: list[Taken], labels: Collection[str]) -> None:
        self.loop.works()
        self.heartbeat.count(keys, ages(changes, self.using), labels)

    def _deliver_many(self, changes: list[Taken]) -> dict[State, int]:
        """Delivers more than one batch: in several threads, or one batch while the changes of the last are removed."""
        if self._is_alone:
            with ThreadPoolExecutor(1, "removing") as removing:
                return self._in_parts(changes, removing)
        by_thread: list[list[Taken]] = [[] for _ in range(self.threads)]
        for change in changes:
            by_thread[hash(change.key) % self.threads].append(change)
        return _total(self._in_threads([functools.partial(self._in_parts, part) for part in by_thread]))

    def _in_parts(self, changes: list[Taken], removing: ThreadPoolExecutor | None = None) -> dict[State, int]:
        """Delivers batch by batch. removing: a thread that removes the changes of one while the next is delivered."""
        removals: list[Future[None]] = []

        def remove(done: list[Taken], token: str, using: str) -> None:
            assert removing
            removals.append(removing.submit(remove_changes, done, token, using))

        try:
            counts = [
                self._deliver(list(part), remove if removing else remove_changes)
                for part in chunks(changes, self.batch)
                if not self.stop.is_set()
            ]
        finally:
            if removing:
                removing.submit(connections.close_all)
        for removal in removals:
            removal.result()  # raises its exception
        return _total(counts)

    def _deliver(self, changes: list[Taken], remove: Remove = remove_changes) -> dict[State, int]:
        with pymongo.timeout(conf.TIMEOUT):
            delivered = deliver_changes(changes, "", self.using, self.writer, remove)
        if delivered.conflicts:
            time.sleep(0.01)  # another worker is at the same keys: let it finish
        keys = {(change.model, change.key) for change in delivered.done}
        self._count(len(keys), delivered.done, {label for label, _ in keys})
        return delivered.counts


class Shards:
    """Which keys are a relay's: each running relay of a queue has a shard of its own.

    That only avoids double work, so it does not matter that relays learn of each other some seconds late.
    """

    def __init__(self, heartbeat: WorkerHeartbeat) -> None:
        self.heartbeat = heartbeat
        self.ask_at = 0.0
        self.shard = WHOLE

    def mine(self) -> Shard:
        """The relay's shard; all keys while no other relay runs."""
        mine = self.heartbeat
        if connections[mine.using].vendor == "mysql" and time.monotonic() > self.ask_at:
            since = DatabaseNow() - timedelta(seconds=SILENCE[mine.kind])
            relays = Worker.objects.using(mine.using).filter(kind=mine.kind, queue=mine.queue, heartbeat_at__gt=since)
            alive = list(relays.order_by("pk").values_list("pk", flat=True))
            self.shard = Shard(alive.index(mine.id), len(alive)) if mine.id in alive else WHOLE
            self.ask_at = time.monotonic() + BEAT
        return self.shard


def _total(counts: Iterable[dict[State, int]]) -> dict[State, int]:
    totals = dict.fromkeys(State, 0)
    for each in counts:
        for state, count in each.items():
            totals[state] += count
    return totals


def adopt_orphans(using: str) -> None:
    """Moves the changes of queues that are no longer in the settings to the first queue: they become dead letters."""
    for part in Change.objects.using(using).exclude(queue__in=[*queues(), *KINDS]).parts():
        part.update(queue="")
