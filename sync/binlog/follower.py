"""The follower: reads the log, delivers the rows that it names, and saves its position after that."""

from __future__ import annotations

import functools
import itertools
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pymysql
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, ProgrammingError, transaction

from sync.binlog import sweep
from sync.binlog.direct import DirectDelivery, Left, record_fan_outs
from sync.binlog.keys import Key
from sync.binlog.log import HEARTBEAT, Gap, LogReader, Transaction, file_created
from sync.binlog.position import LogState, Position
from sync.binlog.server import Server
from sync.binlog.tables import VIA, Tables, followed_tables
from sync.core import conf
from sync.core.batching import chunks
from sync.core.humanize import counted
from sync.core.retry import forget_connection
from sync.mapping.registry import Target, all_rows, targets
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill
from sync.outbox.capture import record
from sync.outbox.relay import require_read_committed
from sync.signals import rows_changed
from sync.workers.checkpoint import TableCheckpoint
from sync.workers.heartbeat import FOLLOWER, WorkerHeartbeat
from sync.workers.lease import Busy, LeaseLost, acquire
from sync.workers.loop import LONGEST_PAUSE, OUTAGES, Loop, in_one_line
from sync.workers.routes import Route
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)

AHEAD = 100  # transactions that are read ahead, at most
CHUNK = 2000  # keys delivered together
PATIENCE = 1.5  # seconds to wait for the next transaction, at most; an idle server reports every HEARTBEAT
SAVE = 0.2  # the same, while the position after the last one is not saved
KEEP = 10.0  # seconds after which the position is saved even without changes
NOTABLE = 3.0  # seconds: a shorter lag is not shown, since the server reports only every HEARTBEAT that nothing is new
PLAN = 1.0  # seconds between two attempts to plan the rescans that could not be planned yet
WATCH = 60.0  # seconds between two checks whether the position may soon be purged
NO_SUCH_TABLE = 1146  # error number
SILENT = 3  # heartbeats in a row that do not come from the log's end, after which the follower reconnects
OFFSETS = 2**32  # a heartbeat's offset has four bytes
CREATED = "/"  # separates a server's identity from the creation time of its log file
PREPARED = 10_000  # keys stored for a prepared XA transaction, at most; with more, all models are backfilled


class Bridged(Exception):
    """The next part of the log cannot be read, so every model is backfilled instead. The message says why."""


class Follower:
    """Follows the log until `stop` is set, by a signal handler or another thread.

    stand_by: waits while another follower runs, instead of raising Busy.
    """

    def __init__(self, using: str = DEFAULT_DB_ALIAS, stop: StopEvent | None = None, *, stand_by: bool = False) -> None:
        self.using = using
        self.stop = stop or StopEvent()
        self.stand_by = stand_by
        self.checkpoint = TableCheckpoint(Route.FOLLOW_BINLOG, "The binary log", using)
        self.loop = Loop(
            self.stop, logger, outages=(*OUTAGES, Bridged, Busy, LeaseLost),
            recover=lambda error: forget_connection(using),
        )  # fmt: skip
        self.has_begun = False
        self.danger = ""
        self.waiting = ""
        self.handled = 0  # keys delivered or recorded since the start
        self.in_sync_at: float | None = None  # by time.time(): all transactions up to this time are handled
        self.place = ""
        self.direct = DirectDelivery(using)
        self.heartbeat = WorkerHeartbeat(using, kind=FOLLOWER)

    @property
    def behind(self) -> float | None:
        """The lag in seconds, from a commit until it is handled; None before the first read of the log."""
        return None if self.in_sync_at is None else max(time.time() - self.in_sync_at, 0.0)

    def run(self) -> None:
        """Follows until stopped, and retries during an outage. Raises ImproperlyConfigured and Busy at the start."""
        Server(self.using)
        try:
            self.acquire()
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            self._fail(error, error)
        try:
            with self.heartbeat.beating(self._note, lambda: {Route.FOLLOW_BINLOG: self.behind}):
                self.loop.run(self._follow, self._is_paused)
        finally:
            with suppress(OperationalError, InterfaceError):
                self.checkpoint.release()

    def acquire(self) -> None:
        """Takes the lease. Raises Busy, LeaseLost and errors of the driver."""
        acquire(self.checkpoint, self.stop, stand_by=self.stand_by)

    def _note(self) -> str:
        behind = self.behind or 0.0
        lag = f"{behind:.0f} s behind" if behind >= NOTABLE else "up to date"
        return (
            self.loop.trouble
            or self.danger
            or self.waiting
            or self.direct.trouble
            or f"{self.place or 'starting'}, {lag}, {counted(self.handled, 'row', 'rows')}"
        )

    def _is_paused(self) -> bool:
        return self.checkpoint.take() is None and self.checkpoint.is_paused()

    def _follow(self) -> None:
        try:
            self._follow_or_bridge()
        except Gap as gap:  # raised by `_bridge`: the end of the log cannot be read, either
            raise Bridged(f"Cannot read the binary log: {gap}") from gap
        except pymysql.MySQLError as error:
            self._fail(OperationalError(*error.args), error)
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            self._fail(error, error)

    def _follow_or_bridge(self) -> None:
        try:
            with _Session(self) as session:
                self.has_begun = True
                session.follow()
        except Gap as gap:
            self.has_begun = True  # the server responds, so later errors do not come from the settings
            self._bridge()
            raise Bridged(f"Cannot continue to read the binary log: {gap}") from gap

    def _fail(self, error: Exception, cause: Exception) -> None:
        """Raises the error; as ImproperlyConfigured if nothing was followed yet, since the settings may be wrong."""
        if not self.has_begun:
            raise ImproperlyConfigured(in_one_line(error)) from cause
        raise error from cause

    def _bridge(self) -> None:
        """Continues after a gap: follows from the end of the log, and plans to rescan every model."""
        server = Server(self.using)
        server.require()
        position = server.position()
        labels = _models(followed_tables())
        state = LogState(
            position.file, position.offset, position.gtids, _log_identity(server, file_created(server, position.file)),
            followed=labels, unplanned=dict.fromkeys(labels, True),
        )  # fmt: skip
        self.checkpoint.save(state.as_state())
        logger.warning("Backfilling every model, and following the log from %s.", position)


class _Session:
    """Follows the log over one connection."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.using = follower.using
        self.server = Server(self.using)
        self.tables = followed_tables()
        self.labels = _models(self.tables)
        self.keys: dict[Key, None] = {}  # read and not delivered yet
        self.unordered: dict[Key, None] = {}  # to be recorded: a commit of our own does not make them visible
        self.rewritten: set[str] = set()
        self.rescanning: set[str] = set()  # models that are rescanned because they were rewritten
        self.is_dirty = False  # the state must be saved with the next flush
        self.is_unsaved = False  # the state has advanced since it was saved
        self.silent = self.created = 0
        self.at = 0.0
        self.next_keep = self.next_plan = self.next_sweep = self.next_watch = 0.0
        self.reader: _ReaderThread | None = None

    def __enter__(self) -> _Session:
        self.follower.acquire()
        self.server.require()
        require_read_committed(self.using)
        self.state = self._load()
        self.gtids = self.server.gtids(self.state.gtids)
        self.prepared = dict(self.state.prepared)
        self.read, self.identity = (self.state.file, self.state.offset), self.state.server
        return self

    def __exit__(self, *error: Any) -> None:
        if self.reader:
            self.reader.finish()

    def _load(self) -> LogState:
        """Returns the saved position; on the first start, the end of the log. Adds new models to `unplanned`."""
        if saved := self.follower.checkpoint.load():
            state = LogState.from_state(saved)
        else:
            end = self.server.position()
            identity = _log_identity(self.server, file_created(self.server, end.file))
            state = LogState(end.file, end.offset, end.gtids, identity)
            logger.info("Following from the end of the log, %s. Existing rows are backfilled.", end)
        for label in self.labels:
            if label not in state.followed:
                state.unplanned[label] = True
        state.followed = self.labels
        # Save the position before a backfill is planned: then the backfill sees everything before it in the log.
        self._save(state)
        self._recognise(state)
        return state

    def _recognise(self, state: LogState) -> None:
        """Raises Gap if the server's log is not the one that was read up to the saved position.

        With GTIDs, the follower may continue on another server. But after a reset, GTIDs and file names start again
        and may name other transactions. A file is the same only if it also has the same creation time.
        """
        server, _, created = state.server.partition(CREATED)
        if server == self.server.identity:
            found = file_created(self.server, state.file)
            if created and found != int(created):
                raise Gap(f"the log was reset or belongs to another server: {state.file} is not the file that was read")
            if self.server.size(state.file) < state.offset:
                raise Gap(f"{state.file} ends before the position that was read")
        elif not state.gtids and not self.server.is_mariadb:
            raise Gap("this is not the server whose log was read, and without GTIDs the position is unknown")
        if self.server.lacks(state.gtids):
            raise Gap("this server lacks transactions that were read")

    def _save(self, state: LogState) -> None:
        self.follower.checkpoint.save(state.as_state())
        self.is_unsaved = False
        self.next_keep = time.monotonic() + min(KEEP, conf.LEASE / 3)

    def follow(self) -> None:
        """Follows until stopped. Raises Gap, Paused, LeaseLost, ImproperlyConfigured, and errors of both drivers."""
        self._plan()
        start = Position(self.state.file, self.state.offset, self.state.gtids)
        self.reader = _ReaderThread(LogReader(self.server, start, self.tables))
        self.reader.start()
        while not self.follower.stop.is_set():
            try:
                # Batches become larger only under load: what is queued is taken together, and nothing is waited for.
                self._take(self.reader.get(0 if self.keys else min(SAVE, PATIENCE) if self.is_unsaved else PATIENCE))
            except queue.Empty:  # nothing new, or the reader is still reading a large transaction
                if self.keys:
                    self._flush()
                else:
                    self._keep()
            self._run_periodic()
        self._flush()
        self._keep()

    def _take(self, item: Transaction | None) -> None:
        """Handles one transaction, or None if there is nothing new."""
        self.follower.loop.works()
        if item is None:
            self._flush()
            self.follower.in_sync_at = time.time()
            self._keep()
            self._check_the_end()
            return
        self.silent = 0
        if item.prepared:
            self._prepare(item)
        elif item.keys.is_large or self.state.part:
            self._deliver_in_parts(item)
        else:
            self.keys.update(dict.fromkeys(item.keys.after(None)))
        if item.finished:
            self._finish_prepared(item)
        if not item.prepared:
            self.rewritten |= item.rewritten
        self._advance(item)
        if len(self.keys) >= CHUNK or self.rewritten or self.is_dirty or self.unordered:
            self._flush()
        elif time.monotonic() > self.next_keep:
            self._flush()
            self._keep()

    def _check_the_end(self) -> None:
        """Checks that the position where the server reports nothing new is the end of its log.

        After a reset, MariaDB keeps reporting this for the file that it has removed. Raises OperationalError then, so
        that the follower reconnects and checks the identity of the log.
        """
        assert self.reader is not None
        file, offset = self.reader.log.idle_at
        end = self.server.end()
        self.silent = self.silent + 1 if (file, offset) != (end[0], end[1] % OFFSETS) else 0
        if self.silent >= SILENT:
            raise OperationalError(2013, f"The server sends nothing after {file}:{offset}, but its log ends at {end}")

    def _advance(self, item: Transaction) -> None:
        if item.gtid:
            self.gtids.add(item.gtid)
        self.read = item.file, item.offset
        if item.created != self.created:
            self.created, self.identity = item.created, _log_identity(self.server, item.created)
        self.at = float(item.at)
        if not self.keys:
            self.follower.in_sync_at = self.at

    def _deliver_in_parts(self, item: Transaction) -> None:
        """Delivers a large transaction. The position stays before it; `part` is the last key handled."""
        self._flush()
        last = (self.state.part[0], self.state.part[1]) if self.state.part else None
        keys = item.keys.after(last)
        while chunk := list(itertools.islice(keys, CHUNK)):
            self._handle(chunk, functools.partial(self._advance_part, chunk[-1]))
        self.is_dirty = True

    def _advance_part(self, last: Key) -> None:
        self.state.part = list(last)

    def _prepare(self, item: Transaction) -> None:
        """Keeps the keys of a prepared XA transaction: its rows become visible only at its commit, maybe much later."""
        keys = list(itertools.islice(item.keys.after(None), PREPARED + 1))
        rewritten = sorted(item.rewritten)
        if len(keys) > PREPARED:
            # Too many keys to store: treat every model as rewritten.
            keys, rewritten = [], self.labels
        # Store it even without keys: an unknown transaction counts as having rewritten every model when it commits.
        self.prepared[item.prepared] = {"keys": keys, "rewritten": rewritten}
        self.is_dirty |= bool(keys or rewritten)

    def _finish_prepared(self, item: Transaction) -> None:
        held = self.prepared.pop(item.finished, {"keys": [], "rewritten": self.labels})
        self.is_dirty |= bool(held["keys"] or held["rewritten"])
        if item.committed:
            # MariaDB logs the commit of a prepared transaction without ordering it among the other commits.
            self.unordered.update(dict.fromkeys((label, key) for label, key in held["keys"]))
            self.rewritten.update(held["rewritten"])

    def _flush(self) -> None:
        """Delivers the gathered keys, and advances the state past them."""
        if self.rewritten:
            if new := self.rewritten - self.state.unplanned.keys():
                logger.warning("Statements may have changed rows of %s. Backfilling.", ", ".join(sorted(new)))
            self.state.unplanned |= dict.fromkeys(self.rewritten, True)
        self._handle(list(self.keys), self._advance_state)
        self.keys.clear()
        self._plan()
        self.rescanning |= self.rewritten
        self.rewritten.clear()

    def _keep(self) -> None:
        """Saves a state that no batch has saved, and from time to time any, which extends the lease."""
        if not self.keys:
            self._advance_state()
        if self.is_unsaved or time.monotonic() > self.next_keep:
            self._save(self.state)

    def _advance_state(self) -> None:
        """Everything that was read is handled."""
        if self.read != (self.state.file, self.state.offset):
            self.state.file, self.state.offset = self.read
            self.state.gtids, self.state.server = str(self.gtids), self.identity
            self.state.part, self.state.prepared = [], dict(self.prepared)
            self.follower.in_sync_at = self.at
            self.follower.place = str(self.state)

    def _handle(self, keys: list[Key], advance: Callable[[], None]) -> None:
        """Delivers the keys, records what is left of them, and advances the state.

        The state is saved together with what is recorded. If nothing is, the next batch saves it first, by which
        readers see the transactions of that batch.
        """
        left, by_label = Left(), defaultdict(list)
        if keys:
            self._make_visible()
            for label, key in keys:
                if VIA in label:
                    left.fan_outs.append((label, key))
                else:
                    by_label[label].append(key)
            for label, of_model in by_label.items():
                for target, count in self.follower.direct.deliver(apps.get_model(label), of_model, left).items():
                    self.follower.heartbeat.count(count, (), [target] if count else ())
        advance()
        watched = [label for label in by_label if rows_changed.has_listeners(apps.get_model(label))]
        if left or watched or self.unordered or self.rewritten or self.is_dirty:
            self._record(left, {label: by_label[label] for label in watched})
        elif keys:
            self.is_unsaved = True
        self.follower.handled += len(keys)

    def _make_visible(self) -> None:
        """Returns when readers see every transaction that was read from the log. See sync/binlog/direct.py."""
        self._save(self.state)

    def _record(self, left: Left, watched: dict[str, list[str]]) -> None:
        """Saves the state together with changes for what is left, and reports the rows to the models' watchers."""
        unordered = defaultdict(list)
        for label, key in self.unordered:
            unordered[label].append(key)
        with transaction.atomic(self.using):
            # Save the position first: by this row the reader recognises the follower's own transactions in the log.
            self._save(self.state)
            for label, keys in watched.items():
                rows_changed.send(apps.get_model(label), keys=keys, using=self.using)
            left.record(self.using)
            for label, keys in unordered.items():
                if VIA in label:
                    record_fan_outs([(label, key) for key in keys], self.using)
                else:
                    self._wait_for_locks(apps.get_model(label), keys)
                    record(apps.get_model(label), keys, self.using, inline=False)
        self.follower.handled += len(self.unordered)
        self.unordered.clear()
        self.is_dirty = False

    def _wait_for_locks(self, model: Any, keys: list[str]) -> None:
        """Returns when the prepared transaction that wrote these rows is visible: until then it locks them."""
        for part in chunks(keys):
            list(all_rows(model, self.using).select_for_update().filter(pk__in=part).values_list("pk"))

    def _plan(self) -> None:
        """Plans to rescan models that are new or rewritten, or every model after a gap: a backfill and two sweeps."""
        now = time.monotonic()
        if not self.state.unplanned or now < self.next_plan:
            return
        missing = set()
        with transaction.atomic(self.using):
            for label in list(self.state.unplanned):
                if label in self.rescanning and backfill.left(self.using, _target_labels(label)):
                    continue  # let the running backfill finish: restarting it each time, it would never reach the end
                if self._plan_model(label):
                    del self.state.unplanned[label]
                else:
                    missing.add(label)
            self._save(self.state)
        if self.state.unplanned:
            self.next_plan = now + PLAN
        waiting = f"backfilled as soon as their tables exist: {', '.join(sorted(missing))}" if missing else ""
        if waiting and waiting != self.follower.waiting:
            logger.warning("Models to be %s.", waiting)
        self.follower.waiting = waiting

    def _plan_model(self, label: str) -> bool:
        """Plans to rescan one model. Returns False if its table does not exist yet."""
        try:
            with transaction.atomic(self.using), suppress(LookupError):  # the model no longer exists
                self._plan_targets(label)
        except ProgrammingError as error:
            if error.args[0] != NO_SUCH_TABLE:
                raise
            return False
        return True

    def _plan_targets(self, label: str) -> None:
        for target in _targets(label):
            backfill.plan(target, self.using)
            if target.kind.readable:
                sweep.plan(target.label, self.using)
                self.next_sweep = 0.0

    def _run_periodic(self) -> None:
        """Plans rescans, runs due sweeps, and warns if the position may soon be purged."""
        self._plan()
        now = time.monotonic()
        if now > self.next_sweep:
            self._sweep(now)
        if now > self.next_watch:
            self.next_watch = now + WATCH
            danger = self.server.danger(self.state.file, self.follower.behind or 0.0)
            if danger and danger != self.follower.danger:
                logger.warning("%s.", danger)
            self.follower.danger = danger

    def _sweep(self, now: float) -> None:
        self.follower.checkpoint.require_running()  # a sweep saves no position, so it would not notice a pause
        try:
            # No other process plans sweeps for this one.
            self.next_sweep = now if sweep.work(self.using) else now + sweep.wait(self.using)
        except Unavailable as error:
            logger.warning("%s; orphans are searched for later", error)
            self.next_sweep = now + LONGEST_PAUSE


class _ReaderThread(threading.Thread):
    """Reads ahead while the session waits for MySQL to commit."""

    def __init__(self, log: LogReader) -> None:
        super().__init__(name="binlog reader", daemon=True)
        self.log = log
        self.items: queue.Queue[Transaction | Exception | None] = queue.Queue(AHEAD)
        self.is_finished = threading.Event()

    def run(self) -> None:
        try:
            for item in self.log:
                self._put(item)
                if self.is_finished.is_set():
                    break
        except Exception as error:
            self._put(error)
        finally:
            self.log.close()

    def _put(self, item: Transaction | Exception | None) -> None:
        while not self.is_finished.is_set():
            with suppress(queue.Full):
                self.items.put(item, timeout=PATIENCE)
                return

    def get(self, patience: float) -> Transaction | None:
        """Returns the next item. Raises queue.Empty after `patience` seconds without one, and the reader's errors."""
        item = self.items.get(timeout=patience)
        if isinstance(item, Exception):
            raise item
        return item

    def finish(self) -> None:
        self.is_finished.set()
        self.join(2 * HEARTBEAT)


def _models(tables: Tables) -> list[str]:
    """Returns the labels of the models whose documents these tables concern."""
    return sorted({reading.model for readings in tables.values() for reading in readings})


def _targets(label: str) -> list[Target]:
    """Returns the targets of the model with this label. Raises LookupError if the model no longer exists."""
    model: Any = apps.get_model(label)
    return targets(model)


def _target_labels(label: str) -> list[str]:
    try:
        return [target.label for target in _targets(label)]
    except LookupError:
        return [label]


def _log_identity(server: Server, created: int) -> str:
    """Returns a text that distinguishes a server's log file from all others of the same name."""
    return f"{server.identity}{CREATED}{created}"
