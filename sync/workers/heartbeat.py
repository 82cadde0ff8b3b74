"""Heartbeats: each delivering process reports its state in its own row of Worker, by the database's clock.

A relay writes its row every BEAT seconds from a separate thread, so that a slow batch does not look like a crash. A
process with inline delivery writes its row together with a delivery, at most every INLINE_BEAT seconds; while idle it
writes nothing. Both remove the row when they end. A heartbeat must never make a delivery fail or wait.

With its row, a process stores when each target was last delivered to. That time stays when the row is gone.
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseError
from django.db.models import Value
from django.utils.translation import gettext_noop

from sync.core import mysql
from sync.core.clock import DatabaseNow
from sync.core.compiled import Statement
from sync.core.retry import forget_connection
from sync.mapping.fields import new_object_id
from sync.mapping.kinds import kind_of
from sync.workers.lag import WINDOW, LagHistogram
from sync.workers.models import Checkpoint, ModelState, Worker

logger = logging.getLogger(__name__)


class Kind(StrEnum):
    """The kinds of workers. The values are stored in Worker.kind."""

    RELAY = "relay"
    INLINE = "inline"  # a web process, command or script, which delivers only what it saves itself
    FOLLOWER = "follower"
    PULLER = "puller"
    COPIER = "copier"
    PUBLISHER = "publisher"
    CONSUMER = "consumer"

    def delivers_to(self, queue: str) -> bool:
        """Returns whether this kind delivers the pending changes of this queue. Most kinds deliver none."""
        return self == kind_of(queue).worker

    @property
    def label(self) -> str:
        """The name shown on pages, not yet translated."""
        return TITLES[self]


RELAY, INLINE, FOLLOWER, PULLER, COPIER, PUBLISHER, CONSUMER = Kind
TITLES = {
    RELAY: gettext_noop("Relay"),
    INLINE: gettext_noop("Application process"),
    FOLLOWER: gettext_noop("Binary log follower"),
    PULLER: gettext_noop("Puller"),
    COPIER: gettext_noop("Copier"),
    PUBLISHER: gettext_noop("Publisher"),
    CONSUMER: gettext_noop("Consumer"),
}
BEAT = 5.0
INLINE_BEAT = 10.0
# Seconds without a heartbeat after which a worker counts as dead: three missed beats, or an empty lag window.
SILENCE: dict[str, float] = {**dict.fromkeys(Kind, 3 * BEAT), INLINE: WINDOW}
SHORTEST = 1.0  # seconds: the shortest interval that a rate is computed over
STUCK = 20.0  # seconds in one batch after which the relay counts as stuck, and its row says so
ROW = "the row's id"  # stands for it in the compiled statement


@functools.cache
def _beat(using: str) -> Statement:
    """Updates a row of Worker; the names of its columns stand for their values."""
    values = {name: Value(name) for name in ("delivered", "rate", "lags", "note")}
    return Statement.update(Worker.objects.using(using).filter(pk=ROW), heartbeat_at=DatabaseNow(), **values)


class Heartbeat:
    """The counters of one process, and its row. Thread-safe."""

    def __init__(self, kind: Kind, using: str = DEFAULT_DB_ALIAS, queue: str = "") -> None:
        self.kind = kind
        self.using = using
        self.queue = queue
        self.reset()

    def reset(self) -> None:
        """Resets all counters and becomes a new worker with a new row. Also called after a fork."""
        self.id = new_object_id()
        self.lock = threading.Lock()
        self.lags = LagHistogram()
        self.delivered = 0
        self.labels: set[str] = set()
        self.note = ""
        self.trouble = ""  # why the last heartbeat was not written
        self.reported = (time.monotonic(), 0)  # time and `delivered` of the last report

    def count(self, keys: int, lags: Iterable[float], labels: Collection[str] = ()) -> None:
        """Counts delivered keys.

        lags: seconds from commit to delivery, for the keys where this is known. labels: of the targets.
        """
        with self.lock:
            self.delivered += keys
            self.labels.update(labels)
            for seconds in lags:
                self.lags.add(seconds)

    def write(self) -> None:
        """Writes the row, with one UPDATE unless the row is new or was swept. A failure is logged once, not raised."""
        try:
            self._write()
            self.trouble = ""
        except DatabaseError as error:
            trouble = mysql.reason(error)
            if trouble != self.trouble:
                logger.warning("Could not write the heartbeat: %s", trouble)
            self.trouble = trouble

    def end(self) -> None:
        """Stores the last deliveries and removes the row, because the process ends. A failure is logged, not raised."""
        try:
            self._store_deliveries()
            Worker.objects.using(self.using).filter(pk=self.id).delete()
        except DatabaseError as error:
            logger.warning("Could not remove the heartbeat, which will expire: %s", mysql.reason(error))

    def _store_deliveries(self) -> None:
        with self.lock:
            labels = frozenset(self.labels)
        if labels:
            ModelState.objects.delivered(labels, self.using)
            with self.lock:
                self.labels -= labels

    def _write(self) -> None:
        values = self._values()
        self._store_deliveries()
        if not _beat(self.using).run({**values, ROW: self.id, "lags": json.dumps(values["lags"])}):
            self._sweep()
            Worker.objects.using(self.using).create(
                pk=self.id, kind=self.kind, host=socket.gethostname()[:100], pid=os.getpid(), queue=self.queue,
                heartbeat_at=DatabaseNow(), **values,
            )  # fmt: skip

    def _values(self) -> dict[str, Any]:
        with self.lock:
            now = time.monotonic()
            since, before = self.reported
            rate = (self.delivered - before) / max(now - since, SHORTEST)
            self.reported = (now, self.delivered)
            return {
                "delivered": self.delivered,
                "rate": rate,
                "lags": self.lags.as_data(),
                "note": self.note[:255],
            }

    def _sweep(self) -> None:
        """Removes the rows of dead workers of this kind."""
        silent = DatabaseNow() - timedelta(seconds=SILENCE[self.kind])
        Worker.objects.using(self.using).filter(kind=self.kind, heartbeat_at__lt=silent).delete()


class WorkerHeartbeat(Heartbeat):
    """The heartbeat of a relay or another long-running worker, written by a separate thread."""

    def __init__(self, using: str, queue: str = "", kind: Kind = RELAY) -> None:
        super().__init__(kind, using, queue)
        self.batch_began: float | None = None
        self.routes: Callable[[], Mapping[str, float | None]] = dict

    def at_work(self, is_at_work: bool) -> None:
        """Notes that the worker starts a batch, or (False) that it waits for work."""
        self.batch_began = time.monotonic() if is_at_work else None

    @contextmanager
    def beating(
        self, trouble: Callable[[], str], routes: Callable[[], Mapping[str, float | None]] = dict
    ) -> Iterator[None]:
        """Writes heartbeats until the block ends, then removes the row.

        trouble: returns what the worker waits for, or "". routes: returns the lag in seconds by the name of the
        route's checkpoint; None if the lag is unknown.
        """
        self.routes = routes
        stop = threading.Event()
        thread = threading.Thread(target=self._beat, args=(stop, trouble), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(BEAT)

    def _beat(self, stop: threading.Event, trouble: Callable[[], str]) -> None:
        try:
            while True:
                self.note = trouble() or self._stuck()
                self.write()
                if stop.wait(BEAT):
                    break
                if self.trouble:
                    forget_connection(self.using)
            self.end()
        finally:
            connections.close_all()

    def _stuck(self) -> str:
        took = self._in_batch()
        return f"busy with one batch for {took:.0f} s" if took > STUCK else ""

    def _in_batch(self) -> float:
        began = self.batch_began
        return time.monotonic() - began if began else 0.0

    def _values(self) -> dict[str, Any]:
        values = super()._values()
        values["lags"]["batch"] = round(self._in_batch(), 1)
        values["lags"]["routes"] = self.routes()
        return values

    def _write(self) -> None:
        super()._write()
        for name, behind in self.routes().items():
            Checkpoint.objects.seen(name, behind, self.using)


class InlineHeartbeat(Heartbeat):
    """The heartbeat of a process with inline delivery, written together with its deliveries."""

    def __init__(self) -> None:
        super().__init__(INLINE)

    def reset(self) -> None:
        super().reset()
        self.next_write = 0.0
        self.stored: set[str] = set()  # labels whose delivery was stored in this interval

    def delivered_inline(
        self, keys: int, seconds: float, using: str, trouble: str = "", labels: Collection[str] = ()
    ) -> None:
        """Counts a delivery of `keys` keys, `seconds` after their commit.

        Writes the row if INLINE_BEAT has passed, or if the delivery is a target's first one in this interval: the
        process may be idle afterwards. trouble: why the delivery failed; no key was delivered then.
        """
        with self.lock:
            if keys:
                self.delivered += keys
                self.labels.update(labels)
                self.lags.add(seconds, keys)
            now = time.monotonic()
            # Inside a transaction (as in tests), a rollback would remove the row again.
            is_due = now >= self.next_write
            if connections[using].in_atomic_block or not (is_due or self.labels - self.stored):
                return
            if is_due:
                self.next_write = now + INLINE_BEAT
                self.stored.clear()
            self.stored |= self.labels
        self.using, self.note = using, trouble
        self.write()

    def process_ends(self) -> None:
        """Removes the row, if the process has one."""
        if self.next_write:
            self.end()
            connections.close_all()


INLINE_HEARTBEAT = InlineHeartbeat()

os.register_at_fork(after_in_child=INLINE_HEARTBEAT.reset)
atexit.register(INLINE_HEARTBEAT.process_ends)
