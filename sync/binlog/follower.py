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
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, ProgrammingError, transaction

from sync.binlog import sweep
from sync.binlog.keys import Key
from sync.binlog.log import HEARTBEAT, Gap, LogReader, Transaction, file_created
from sync.binlog.models import BinlogPosition
from sync.binlog.position import Position
from sync.binlog.server import Server
from sync.binlog.tables import mirrored_tables
from sync.core import mysql
from sync.core.clock import DatabaseNow
from sync.core.retry import forget_connection
from sync.mapping.registry import KAFKA, targets
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill
from sync.outbox.capture import record
from sync.workers.heartbeat import FOLLOWER, RelayHeart
from sync.workers.shutdown import Stop

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
NO_SUCH_TABLE = 1146  # error number
SILENT = 3  # heartbeats in a row that do not come from the log's end
OFFSETS = 2**32  # a heartbeat's offset has four bytes
CREATED = "/"  # between a server's identity and the time when its log's file was begun
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
        self.waiting = ""
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
        return (
            self.trouble
            or self.danger
            or self.waiting
            or f"{self.place or 'starting'}, {lag}, {self.recorded:,} recorded"
        )

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
                except (OperationalError, InterfaceError, pymysql.MySQLError, Gap) as error:
                    self._say(_reason(error))
            except (OperationalError, InterfaceError, ProgrammingError, pymysql.MySQLError) as error:
                if not has_begun:
                    raise ImproperlyConfigured(_reason(error)) from error
                self._say(_reason(error))
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
            server=_log_identity(server, file_created(server, position.file)), file=position.file,
            offset=position.offset, gtids=position.gtids, part=[], prepared={},
            unplanned={table.label: True for table in tables.values()}, saved_at=DatabaseNow(),
        )  # fmt: skip
        logger.warning("Backfilling everything, and following the log from %s on.", position)


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
        self.looking: set[str] = set()  # models whose backfill was planned because they were rewritten
        self.has_moved = self.is_dirty = False
        self.silent = self.created = 0
        self.flushed_at = self.next_keep = self.next_plan = self.next_sweep = self.next_watch = 0.0
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
            row = BinlogPosition(name=NAME, file=end.file, offset=end.offset, gtids=end.gtids)
            row.server = _log_identity(self.server, file_created(self.server, end.file))
            logger.info("Following from the end of the log, %s; what is there already is backfilled.", end)
        for label in self.labels:
            if label not in row.followed:
                row.unplanned[label] = True
        row.followed = self.labels
        # Committed before anything is planned: then all that comes before it in the log can be seen.
        self._save(row)
        self._recognise(row)
        return row

    def _recognise(self, row: BinlogPosition) -> None:
        """Raises Gap where the server's log is not the one that was read up to our position.

        By GTIDs a log may go on at another server. But GTIDs and the names of files begin anew when a log is reset,
        and then they may be those of other transactions: a file is the same if it was also begun at the same time.
        """
        server, _, created = row.server.partition(CREATED)
        if server == self.server.identity:
            found = file_created(self.server, row.file)
            if created and found != int(created):
                raise Gap(f"the log was reset, or is another server's: {row.file} is not the file that was read")
            if self.server.size(row.file) < row.offset:
                raise Gap(f"{row.file} ends before what was read of it")
        elif not row.gtids and not self.server.is_mariadb:
            raise Gap("this is another server than the one whose log was read, and there are no GTIDs to go by")
        if self.server.lacks(row.gtids):
            raise Gap("this server has not seen all transactions that were read")

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
            self._check_the_end()
            return
        self.silent = 0
        if item.prepared:
            self._prepare(item)
        elif item.keys.is_large or self.row.part:
            self._record_in_parts(item)
        else:
            self.keys.update(dict.fromkeys(item.keys.after(None)))
        if item.finished:
            self._finish_prepared(item)
        if not item.prepared:
            self.rewritten |= item.rewritten
        self._advance(item)
        if len(self.keys) >= CHUNK or time.monotonic() > self.flushed_at + GATHER:
            self._flush()

    def _check_the_end(self) -> None:
        """The server says that there is nothing new: its log ends there. A log that was reset does not.

        After a reset MariaDB goes on to say so of the file that it has removed. Raises OperationalError then, so that
        we connect again and look whose log this is.
        """
        file, offset = self.reader.log.idle_at  # type: ignore[union-attr]
        end = self.server.end()
        self.silent = self.silent + 1 if (file, offset) != (end[0], end[1] % OFFSETS) else 0
        if self.silent >= SILENT:
            raise OperationalError(2013, f"The server sends nothing after {file}:{offset}, and its log ends at {end}")

    def _advance(self, item: Transaction) -> None:
        if item.gtid:
            self.gtids.add(item.gtid)
        self.row.file, self.row.offset = item.file, item.offset
        if item.created != self.created:
            self.created, self.row.server = item.created, _log_identity(self.server, item.created)
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
        rewritten = sorted(item.rewritten)
        if len(keys) > PREPARED:
            # Too many to be kept: any model may be rewritten, then.
            keys, rewritten = [], self.labels
        # One without keys is kept as well: whatever is committed and was not seen may have written anything.
        self.row.prepared[item.prepared] = {"keys": keys, "rewritten": rewritten}
        self.is_dirty |= bool(keys or rewritten)

    def _finish_prepared(self, item: Transaction) -> None:
        held = self.row.prepared.pop(item.finished, {"keys": [], "rewritten": self.labels})
        self.is_dirty |= bool(held["keys"] or held["rewritten"])
        if item.committed:
            self.keys.update(dict.fromkeys((label, key) for label, key in held["keys"]))
            self.rewritten.update(held["rewritten"])

    def _flush(self) -> None:
        """Records what was gathered, and the position with it; the position alone now and then."""
        now = time.monotonic()
        if self.rewritten:
            if new := self.rewritten - self.row.unplanned.keys():
                logger.warning("Statements may have changed rows of %s: backfilling.", ", ".join(sorted(new)))
            self.row.unplanned |= dict.fromkeys(self.rewritten, True)
        if self.keys or self.rewritten or self.is_dirty or (self.has_moved and now > self.next_keep):
            self._record(list(self.keys))
            self.keys.clear()
            self.has_moved = self.is_dirty = False
            self.next_keep = now + KEEP
            self._plan()
            self.looking |= self.rewritten
            self.rewritten.clear()
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
        """Plans what a gap, a new model or a rewritten one needs: a backfill, and a look for documents without rows."""
        now = time.monotonic()
        if not self.row.unplanned or now < self.next_plan:
            return
        missing = set()
        with transaction.atomic(self.using):
            for label in list(self.row.unplanned):
                if label in self.looking and backfill.left(self.using, _target_labels(label)):
                    continue  # one look after the other, or many in a row would never come to the last rows
                try:
                    with transaction.atomic(self.using):
                        self._plan_model(label)
                except ProgrammingError as error:
                    if error.args[0] != NO_SUCH_TABLE:
                        raise
                    missing.add(label)
                else:
                    del self.row.unplanned[label]
            self._save(self.row)
        if self.row.unplanned:
            self.next_plan = now + SWEEP
        waiting = f"backfilled as soon as their tables exist: {', '.join(sorted(missing))}" if missing else ""
        if waiting and waiting != self.follower.waiting:
            logger.warning("Models to be %s.", waiting)
        self.follower.waiting = waiting

    def _plan_model(self, label: str) -> None:
        with suppress(LookupError):  # the model is gone
            for target in targets(apps.get_model(label)):  # type: ignore[arg-type]
                backfill.plan(target, self.using)
                if target.lane != KAFKA:  # whose messages nobody can look through
                    sweep.plan(target.label, self.using)

    def _look_around(self) -> None:
        self._plan()
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


def _reason(error: Exception) -> str:
    """One line, also of PyMySQL's errors, which have the same numbers as Django's driver's."""
    return str(error) if isinstance(error, Gap) else mysql.reason(OperationalError(*error.args))


def _target_labels(label: str) -> list[str]:
    try:
        return [target.label for target in targets(apps.get_model(label))]  # type: ignore[arg-type]
    except LookupError:
        return [label]


def _log_identity(server: Server, created: int) -> str:
    """Tells one server's log file from every other of the same name."""
    return f"{server.identity}{CREATED}{created}"
