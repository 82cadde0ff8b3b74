"""The relay: delivers what inline delivery has left. Any number of relays can run."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pymongo
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from sync.core import causal, conf
from sync.core.batching import chunks
from sync.core.retry import forget_connection
from sync.mapping.fields import new_object_id
from sync.mapping.kinds import KINDS, kind_of
from sync.mapping.registry import queues
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill
from sync.outbox.delivery import Remove, deliver_changes, release_quietly, remove_changes
from sync.outbox.models import Change, Claimed
from sync.outbox.mongo_writer import Fenced, State, Writer
from sync.workers.bell import bell, silence
from sync.workers.heartbeat import RELAY, Kind, WorkerHeartbeat
from sync.workers.lag import ages
from sync.workers.loop import Loop
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)

PARTS = 4  # batches that an exclusive relay reads at a time
SHORTEST, INTERVAL = 0.01, 1.0  # seconds between two looks at the queue: after work, and when it has long been empty
SLOWER = 1.5  # each look at an empty queue makes the next pause longer by this factor


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
    causal.require_one_server(using)


class Relay:
    """Claims and delivers the changes of one queue until stopped.

    stop: may be set from a signal handler or another thread. writer: by default that of the queue's kind.
    interval: seconds between two looks at an empty queue, at most; a change recorded on this machine ends the pause.
    listens: whether it does so. One of a process's relays of a queue is enough: the others help with what is left.
    kind: its name in the heartbeat. is_paused: whether the whole queue is paused. routes: see WorkerHeartbeat.beating.
    """

    def __init__(
        self,
        queue: str = "",
        *,
        batch: int | None = None,
        interval: float = INTERVAL,
        listens: bool = True,
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
        self.using = using
        self.stop = stop or StopEvent()
        self.is_paused = is_paused
        self.routes = routes
        self.interval = interval
        self.listens = listens
        self.pause = 0.0  # seconds until the next look, if nobody rings
        self.loop = Loop(
            self.stop, logger, prefix=f"{queue}: " if queue else "",
            recover=lambda error: forget_connection(using),
        )  # fmt: skip
        self.heartbeat = WorkerHeartbeat(using, queue, kind)

    def run(self) -> None:
        """Delivers until `stop` is set. Waits for the bell when nothing is due, and longer during an outage."""
        listening = bell(self.queue, self.using) if self.listens else nullcontext()
        with self.heartbeat.beating(lambda: self.trouble, self.routes), listening as heard:
            self.loop.run(lambda: self._step(heard), self.is_paused)

    @property
    def trouble(self) -> str:
        """What it waits for, in one line; empty while it delivers."""
        return self.loop.trouble

    def _step(self, heard: socket.socket | None) -> None:
        sockets = [heard] if heard else []
        for each in sockets:
            silence(each)
        try:
            worked = any(self.drain().values())
        finally:
            self.heartbeat.at_work(False)
        self.loop.works()
        self.pause = min(SHORTEST if worked else max(self.pause * SLOWER, SHORTEST), self.interval)
        self.stop.wait(self.pause, *sockets)

    def drain(self, progress: Callable[[int], None] = lambda keys: None) -> dict[State, int]:
        """Delivers until nothing is due; returns how many keys came to which state. Raises Unavailable or Fenced.

        Returns earlier when it is stopped or paused. Changes of keys come first; one range of a backfill is delivered
        whenever no key is due.
        """
        totals = dict.fromkeys(State, 0)
        changes = Change.objects.using(self.using)
        while not (self.stop.is_set() or self.is_paused()) and changes.any_due(self.queue):
            self.heartbeat.at_work(True)
            alone = self.writer.exclusive
            token = "" if alone else new_object_id()
            if claimed := changes.due(self.queue).claim(self.batch * (PARTS if alone else 1), token):
                counts = self._deliver(claimed, token) if len(claimed) <= self.batch else self._deliver_parts(claimed)
            elif (done := backfill.work(self.using, queue=self.queue, writer=self.writer)) is not None:
                label, counts = done
                # A range's keys have no commit that they could lag behind.
                self._count(counts[State.DELIVERED] + counts[State.DELETED], [], {label})
            else:
                break
            for state, count in counts.items():
                totals[state] += count
            progress(sum(counts.values()))
        return totals

    def _count(self, keys: int, changes: list[Claimed], labels: Collection[str]) -> None:
        self.loop.works()
        self.heartbeat.count(keys, ages(changes, self.using), labels)

    def _deliver_parts(self, changes: list[Claimed]) -> dict[State, int]:
        """For an exclusive relay: while one part is delivered, a thread removes the changes of the previous part."""
        totals = dict.fromkeys(State, 0)
        removals: list[Future[None]] = []
        with ThreadPoolExecutor(1, "removing") as thread:

            def remove(done: list[Claimed], token: str, using: str) -> None:
                removals.append(thread.submit(remove_changes, done, token, using))

            try:
                for part in chunks(changes, self.batch):
                    if not self.stop.is_set():
                        for state, count in self._deliver(list(part), "", remove).items():
                            totals[state] += count
            finally:
                thread.submit(connections.close_all)
        for removal in removals:
            removal.result()  # raises its exception
        return totals

    def _deliver(self, changes: list[Claimed], token: str, remove: Remove = remove_changes) -> dict[State, int]:
        try:
            with pymongo.timeout(conf.TIMEOUT):
                delivered = deliver_changes(changes, token, self.using, self.writer, remove)
        except (Unavailable, Fenced):
            release_quietly(changes, token, self.using)
            raise
        if delivered.conflicts:
            release_quietly(delivered.conflicts, token, self.using)
            time.sleep(0.01)  # another worker is at the same keys: let it finish
        keys = {(change.model, change.key) for change in delivered.done}
        self._count(len(keys), delivered.done, {label for label, _ in keys})
        return delivered.counts


def adopt_orphans(using: str) -> None:
    """Moves the changes of queues that are no longer in the settings to the first queue: they become dead letters."""
    Change.objects.using(using).exclude(queue__in=[*queues(), *KINDS]).update(queue="")
