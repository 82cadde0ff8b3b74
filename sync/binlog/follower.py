"""The follower: reads the log, and keeps its position together with what it records."""

from __future__ import annotations

import datetime
import itertools
import logging
import queue
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

import pymysql
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, transaction

from sync import backfill, mysql
from sync.binlog import sweep
from sync.binlog.keys import Key
from sync.binlog.log import HEARTBEAT, Gap, LogReader, Transaction
from sync.binlog.position import Position
from sync.binlog.server import Server
from sync.binlog.tables import mirrored_tables
from sync.capture import record
from sync.clock import DatabaseNow
from sync.heartbeat import FOLLOWER, RelayHeart
from sync.models import BinlogPosition
from sync.mongo import Unavailable
from sync.recovering import forget_connection
from sync.registry import KAFKA, targets
from sync.stopping import Stop

logger = logging.getLogger(__name__)

NAME = "binlog"  # the position's row
AHEAD = 100  # transactions read and not yet recorded
CHUNK = 2000  # keys recorded in one transaction
GATHER = 0.05  # seconds between two recordings, at least: under load, what comes meanwhile is recorded together
PATIENCE = 0.2  # seconds that one look at the log takes at most
KEEP = 10.0  # seconds after which a position is saved although nothing was to be recorded
SWEEP = 1.0  # seconds between two looks for sweeps
WATCH = 60.0  # seconds between two looks whether the position is in danger
LONGEST_PAUSE = 30.0
PREPARED = 10_000  # keys of a prepared XA transaction that are kept; beyond, its models are backfilled instead


class Taken(Exception):
    """Another follower is at work."""


class Follower:
    """Follows the log until stopped. `stop` may be set from a signal handler or another thread."""

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self.using = using
        self.stop = Stop()
        self.trouble = ""
        self.danger = ""
        self.recorded = 0  # changes, since it started
        self.lag = 0.0  # seconds from a transaction's commit until it is recorded; 0 when all is read
        self.place = ""
        self.heart = RelayHeart(using, kind=FOLLOWER)  # it delivers nothing: its figures are in its note

    def run(self) -> None:
        """Raises ImproperlyConfigured and Taken where it cannot work; goes on by itself when a server was away."""
        Server(self.using)
        with self.heart.beating(self._note):
            self._run()

    def _note(self) -> str:
        lag = f"{self.lag:.0f} s behind" if self.lag >= 1 else "up to date"
        return self.trouble or self.danger or f"{self.place or 'starting'}, {lag}, {self.recorded:,} recorded"

    def _run(self) -> None:
        pause, has_begun = 0.0, False
        while not self.stop.is_set():
            read = self.recorded
            try:
                with _Session(self) as session:
                    has_begun = True
                    session.follow()
            except Taken as error:
                if not has_begun:
                    raise
                self._say(str(error))  # perhaps our own session, which the server has not yet given up
            except Gap as gap:
                self._say(f"The binary log cannot be read on from here: {gap}")
                try:
                    self._bridge()
                except (OperationalError, InterfaceError) as error:
                    self._say(mysql.reason(OperationalError(*error.args)))
            except (OperationalError, InterfaceError, pymysql.MySQLError) as error:
                if not has_begun:
                    raise ImproperlyConfigured(mysql.reason(OperationalError(*error.args))) from error
                self._say(mysql.reason(OperationalError(*error.args)))
            finally:
                forget_connection(self.using)
            pause = min(max(2 * pause, 0.5), LONGEST_PAUSE) if read == self.recorded else 0.5
            self.stop.wait(pause)

    def _say(self, trouble: str) -> None:
        """Says what is wrong once, and that it is over."""
        if trouble and trouble != self.trouble:
            logger.error("%s. Nothing is lost; trying again until it goes on.", trouble)
        elif self.trouble and not trouble:
            logger.info("Following again.")
        self.trouble = trouble

    def _bridge(self) -> None:
        """After a gap: from the log's end on, with a backfill of everything and a look for documents left behind."""
        server = Server(self.using)
        server.require()
        position = server.position()
        tables = mirrored_tables()
        BinlogPosition.objects.using(self.using).filter(name=NAME).update(
            server=server.identity, file=position.file, offset=position.offset, gtids=position.gtids, part=[],
            prepared={}, unplanned={table.label: True for table in tables.values()}, saved_at=DatabaseNow(),
        )  # fmt: skip
        logger.warning("Everything is backfilled, and followed from %s on.", position)


class _Session:
    """One connection's worth of following: holds the lock that keeps a second follower away.

    The lock belongs to the connection that the changes are written with: who has lost it cannot write.
    """

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.using = follower.using
        self.server = Server(self.using)
        self.tables = mirrored_tables()
        self.labels = sorted(table.label for table in self.tables.values())
        self.keys: dict[Key, None] = {}
        self.rewritten: set[str] = set()
        self.has_moved = self.is_dirty = False
        self.flushed_at = self.next_keep = self.next_sweep = self.next_watch = 0.0
        self.reader: _ReaderThread | None = None

    def __enter__(self) -> _Session:
        self.lock = f"sync.follow-binlog.{self.server.database}"[:64]
        if self.server.rows("SELECT GET_LOCK(%s, 0)", self.lock) != [(1,)]:
            raise Taken("Another follower is at work on this database. One is enough.")
        self.server.require()
        self.row = self._load()
        self.gtids = self.server.gtids(self.row.gtids)
        return self

    def __exit__(self, *error: Any) -> None:
        if self.reader:
            self.reader.finish()

    def _load(self) -> BinlogPosition:
        """Our position; on the first start the end of the log. Models that are new here are to be backfilled."""
        row = BinlogPosition.objects.using(self.using).filter(name=NAME).first()
        if row is None:
            end = self.server.position()
            row = BinlogPosition(
                name=NAME, server=self.server.identity, file=end.file, offset=end.offset, gtids=end.gtids
            )
            logger.info("Following from the end of the log, %s; what is there already is backfilled.", end)
        for label in self.labels:
            if label not in row.followed:
                row.unplanned.setdefault(label, False)
        row.followed = self.labels
        # Committed before anything is planned: then all that comes before it in the log can be seen.
        self._save(row)
        if not row.gtids and not self.server.is_mariadb and row.server != self.server.identity:
            raise Gap("this is another server than the one whose log was read, and there are no GTIDs to go by")
        return row

    def _save(self, row: BinlogPosition) -> None:
        row.saved_at = DatabaseNow()  # type: ignore[assignment]
        row.save(using=self.using)

    def follow(self) -> None:
        """Until told to stop. Raises Gap, ImproperlyConfigured, and database errors of both drivers."""
        self._plan()
        start = Position(self.row.file, self.row.offset, self.row.gtids)
        self.reader = _ReaderThread(LogReader(self.server, start, self.tables))
        self.reader.start()
        while not self.follower.stop.is_set():
            try:
                self._take(self.reader.get(GATHER if self.keys else PATIENCE))
            except queue.Empty:  # nothing more for now, or a large transaction is being read
                self._flush()
            self._look_around()
        self._flush()

    def _take(self, item: Transaction | None) -> None:
        """One transaction, or None: there is nothing new."""
        self.follower._say("")
        if item is None:
            self.follower.lag = 0.0
            self._flush()
            return
        if item.prepared:
            self._prepare(item)
        elif item.keys.is_large or self.row.part:
            self._record_in_parts(item)
        else:
            self.keys.update(dict.fromkeys(item.keys.after(None)))
        if item.finished:
            self._finish_prepared(item)
        self.rewritten |= item.rewritten
        self._advance(item)
        if len(self.keys) >= CHUNK or time.monotonic() > self.flushed_at + GATHER:
            self._flush()

    def _advance(self, item: Transaction) -> None:
        if item.gtid:
            self.gtids.add(item.gtid)
        self.row.file, self.row.offset = item.file, item.offset
        self.row.event_at = datetime.datetime.fromtimestamp(item.at, datetime.UTC)
        self.follower.lag = max(time.time() - item.at, 0.0)
        self.has_moved = True

    def _record_in_parts(self, item: Transaction) -> None:
        """A large transaction: the position stays before it, and says how much of it is recorded."""
        self._flush()
        last: Key | None = tuple(self.row.part) if self.row.part else None  # type: ignore[assignment]
        keys = item.keys.after(last)
        while chunk := list(itertools.islice(keys, CHUNK)):
            self.row.part = list(chunk[-1])
            self._record(chunk)
        self.row.part, self.is_dirty = [], True

    def _prepare(self, item: Transaction) -> None:
        """An XA transaction's rows cannot be seen before it is committed, which may be long after."""
        keys = list(itertools.islice(item.keys.after(None), PREPARED + 1))
        if keys:
            # Too many to be kept: any model may be rewritten, then.
            labels = self.labels if len(keys) > PREPARED else []
            self.row.prepared[item.prepared] = {"keys": [] if labels else keys, "rewritten": labels}
            self.is_dirty = True

    def _finish_prepared(self, item: Transaction) -> None:
        held = self.row.prepared.pop(item.finished, None)
        if held is not None:
            self.is_dirty = True
        if held is not None and item.committed:
            self.keys.update(dict.fromkeys((label, key) for label, key in held["keys"]))
            self.rewritten.update(held["rewritten"])

    def _flush(self) -> None:
        """Records what was gathered, and the position with it; the position alone now and then."""
        now = time.monotonic()
        if self.rewritten:
            self.row.unplanned |= dict.fromkeys(self.rewritten, True)
            logger.warning("A statement has rewritten %s: backfilling.", ", ".join(sorted(self.rewritten)))
        if self.keys or self.rewritten or self.is_dirty or (self.has_moved and now > self.next_keep):
            self._record(list(self.keys))
            self.keys.clear()
            self.rewritten.clear()
            self.has_moved = self.is_dirty = False
            self.next_keep = now + KEEP
            self._plan()
            self.flushed_at = time.monotonic()

    def _record(self, keys: list[Key]) -> None:
        by_label = defaultdict(list)
        for label, key in keys:
            by_label[label].append(key)
        self.row.gtids = str(self.gtids)
        with transaction.atomic(self.using):
            # The position first: by that the reader knows our own transactions, when they come along.
            self._save(self.row)
            for label, of_model in by_label.items():
                record(apps.get_model(label), of_model, self.using, inline=False)
        self.follower.recorded += len(keys)
        self.follower.place = str(self.row)

    def _plan(self) -> None:
        """Plans what a gap, a new model or a rewritten one needs."""
        if not self.row.unplanned:
            return
        with transaction.atomic(self.using):
            for label, has_lost_rows in self.row.unplanned.items():
                with suppress(LookupError):  # the model is gone
                    for target in targets(apps.get_model(label)):  # type: ignore[arg-type]
                        backfill.plan(target, self.using)
                        if has_lost_rows and target.lane != KAFKA:  # whose messages nobody can look through
                            sweep.plan(target.label, self.using)
            self.row.unplanned = {}
            self._save(self.row)

    def _look_around(self) -> None:
        now = time.monotonic()
        if now > self.next_sweep:
            self.next_sweep = now + SWEEP
            try:
                if sweep.work(self.using):
                    self.next_sweep = now
            except Unavailable as error:
                logger.warning("%s; documents without rows are looked for later", error)
                self.next_sweep = now + LONGEST_PAUSE
        if now > self.next_watch:
            self.next_watch = now + WATCH
            danger = self.server.danger(self.row.file, self.follower.lag)
            if danger and danger != self.follower.danger:
                logger.warning("%s.", danger)
            self.follower.danger = danger


class _ReaderThread(threading.Thread):
    """Reads ahead, while the session waits for MySQL to commit."""

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
        """The next; raises queue.Empty when there is none for so many seconds, and what reading has raised."""
        item = self.items.get(timeout=patience)
        if isinstance(item, Exception):
            raise item
        return item

    def finish(self) -> None:
        self.is_finished.set()
        self.join(2 * HEARTBEAT)
