"""Reads the binary log, one transaction after the other."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.charset import charset_by_id
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.constants import BINLOG
from pymysqlreplication.event import (
    BeginLoadQueryEvent,
    BinLogEvent,
    ExecuteLoadQueryEvent,
    FormatDescriptionEvent,
    GtidEvent,
    HeartbeatLogEvent,
    IntvarEvent,
    MariadbAnnotateRowsEvent,
    MariadbBinLogCheckPointEvent,
    MariadbGtidEvent,
    MariadbGtidListEvent,
    MariadbStartEncryptionEvent,
    PreviousGtidsEvent,
    QueryEvent,
    RandEvent,
    RotateEvent,
    RowsQueryLogEvent,
    StopEvent,
    UserVarEvent,
    XAPrepareEvent,
    XidEvent,
)
from pymysqlreplication.row_event import RowsEvent, TableMapEvent, WriteRowsEvent

from sync.binlog import query_events, rows, table_maps
from sync.binlog.compressed import Connection
from sync.binlog.keys import Key, Unrecorded
from sync.binlog.position import Position
from sync.binlog.server import DENIED, Server
from sync.binlog.statements import Statement, Statements
from sync.binlog.tables import VIA, Reading, Tables
from sync.outbox.models import Change
from sync.workers.models import Checkpoint
from sync.workers.routes import Route

logger = logging.getLogger(__name__)
query_events.install()
table_maps.install()

# Events without rows, which are skipped. All others are read, and an unknown event is a gap.
WITHOUT_ROWS = {
    BeginLoadQueryEvent,  # the file of LOAD DATA; ExecuteLoadQueryEvent loads it
    IntvarEvent, RandEvent, UserVarEvent,  # values for the next statement
    MariadbAnnotateRowsEvent, RowsQueryLogEvent,  # the statement whose rows come next
    MariadbBinLogCheckPointEvent, MariadbGtidListEvent, MariadbStartEncryptionEvent, PreviousGtidsEvent, StopEvent,
    TableMapEvent,  # the library itself uses it to read rows
}  # fmt: skip
# The same, for types that the library does not parse.
TYPES_WITHOUT_ROWS = {
    BINLOG.ANONYMOUS_GTID_LOG_EVENT,
    0x24, 0x25,  # group replication: transaction context, view change
    0x29,  # a heartbeat's second version
}  # fmt: skip
HEARTBEAT = 1.0  # seconds without events after which the server reports that nothing is new
UNREADABLE = 1236  # error number: the server cannot send the log from this position
TAGGED_GTID = 0x2A
INCIDENT = BINLOG.INCIDENT_EVENT
IGNORABLE = 0x80  # a flag: a replica that does not know the event may skip it, and still has the same rows
STANDALONE = 0x01  # a flag of MariaDB's GTIDs: a single statement without COMMIT
LATE_CHANGES = 200  # events of sync_change that are kept undecoded until the transaction ends, at most

CHANGES, CHECKPOINTS = Change._meta.db_table, Checkpoint._meta.db_table
# How to read checkpoint rows; the follower's own key.
OURS = [Reading("", "name", str)], ("", Route.FOLLOW_BINLOG.value)


class Gap(Exception):
    """The log after the saved position was purged, or cannot be read. The message says why, in one line."""


@dataclass
class Transaction:
    """What the follower needs to know of one committed transaction.

    keys: keys of the rows that it wrote and did not record.
    rewritten: labels of models whose rows may have changed without being logged.
    prepared: the name of the XA transaction that it prepares; its changes take effect at its commit. Otherwise "".
    finished: the name of the XA transaction that it commits or rolls back. committed: whether it commits it.
    gtid: its GTID; "" if the server has none.
    file, offset: where the next transaction starts.
    created: when this file was created, in seconds since 1970.
    at: when it was committed, in seconds since 1970 by the server's clock.
    """

    keys: Unrecorded = field(default_factory=Unrecorded)
    rewritten: set[str] = field(default_factory=set)
    prepared: str = ""
    finished: str = ""
    committed: bool = False
    gtid: str = ""
    file: str = ""
    offset: int = 0
    created: int = 0
    at: int = 0


class LogReader:
    """Reads the log from `start`. Iterating yields transactions, and None after each HEARTBEAT without a new one.

    Raises Gap if the position was purged, ImproperlyConfigured if a privilege is missing, and pymysql.Error if the
    server is unreachable. Do not use a reader again after an error.
    """

    def __init__(self, server: Server, start: Position, tables: Tables) -> None:
        # Built here, because another thread reads the log and must not use this thread's Django connection.
        self.denied = server.denied()
        self.tables = {name.lower(): readings for name, readings in tables.items()}
        self.models = {name: {each.model for each in readings} for name, readings in self.tables.items()}
        # A statement that rewrites the outbox may have removed pending changes of any model.
        self.statements = Statements(server.database, [*tables, CHANGES])
        self.file = start.file
        self.created = 0  # when the file was created, in seconds since 1970: identifies it among files of this name
        self.idle_at = ("", 0)  # file, offset: where the server last reported that nothing is new
        self.connections = 0
        self.stream = BinLogStreamReader(
            connection_settings=server.read_as_replica(),
            server_id=_server_id(),
            pymysql_wrapper=self._connect,
            is_mariadb=server.is_mariadb,
            auto_position=start.gtids if start.gtids or server.is_mariadb else None,
            log_file=start.file,
            log_pos=start.offset,
            resume_stream=True,
            blocking=True,
            only_events=_known_events() - WITHOUT_ROWS,
            filter_non_implemented_events=False,
            only_schemas=_Names([server.database]),
            only_tables=_Names([*tables, CHANGES, CHECKPOINTS]),
            slave_heartbeat=HEARTBEAT,
            enable_logging=False,
        )
        self._begin()

    def _connect(self, **settings: Any) -> Any:
        """Connects for the library. Refuses a reconnect, after which the library would read from its first position."""
        self.connections += 1
        if self.connections > 2:  # one for the log, and one for queries about tables
            raise pymysql.OperationalError(2013, "The server has closed the connection")
        return _connect(**settings)

    def close(self) -> None:
        self.stream.close()

    def __iter__(self) -> Iterator[Transaction | None]:
        while True:
            event = self._next()
            if isinstance(event, HeartbeatLogEvent):
                self.idle_at = event.ident, event.packet.log_pos
                yield None
            elif self._take(event):
                transaction = self.transaction
                transaction.at, transaction.offset, transaction.file = event.timestamp, event.packet.log_pos, self.file
                transaction.created = self.created
                self._decide_late()
                self._begin()
                yield transaction

    def _next(self) -> Any:
        try:
            event = self.stream.fetchone()
        except pymysql.MySQLError as error:
            if error.args[:1] and error.args[0] in DENIED:
                raise self.denied from error
            raise _gap(error) from error
        except OSError as error:
            raise pymysql.OperationalError(2013, str(error)) from error
        except Exception as error:
            raise Gap(f"an event cannot be read: {error!r}") from error
        if event is None:
            raise pymysql.OperationalError(2013, "The server has ended the log")
        return event

    def _begin(self) -> None:
        self.transaction = Transaction()
        self.late: list[RowsEvent] = []
        self.is_own = False
        self.is_open = False

    def _take(self, event: Any) -> bool:
        """Handles one event. Returns whether it completes the transaction."""
        if isinstance(event, RowsEvent):
            self._rows(event)
        elif isinstance(event, QueryEvent):
            return self._statement(event)
        elif isinstance(event, XidEvent):
            return True
        elif isinstance(event, XAPrepareEvent):
            if not event.one_phase:
                parts = f"X'{event.xid_gtrid.hex()}',X'{event.xid_bqual.hex()}',{event.xid_format_id}"
                self.transaction.prepared = parts
            return True
        elif isinstance(event, (GtidEvent, MariadbGtidEvent)):
            self._begin()
            self.transaction.gtid = event.gtid
            self.is_open = isinstance(event, MariadbGtidEvent) and not event.flags & STANDALONE
        elif isinstance(event, RotateEvent):
            # The library keeps table numbers across files, but a restarted server assigns them again.
            self.stream.table_map.clear()
            self.file = event.next_binlog
        elif isinstance(event, FormatDescriptionEvent):
            self.created = event.timestamp
        elif isinstance(event, ExecuteLoadQueryEvent):
            self.transaction.rewritten.update(*self.models.values())
            return not self.is_open
        else:
            self._unknown(event)
        return False

    def _unknown(self, event: BinLogEvent) -> None:
        if event.event_type == INCIDENT:
            raise Gap("the server reports that its log is incomplete (an incident event)")
        if event.event_type == TAGGED_GTID and isinstance(self.stream.auto_position, str):
            raise Gap("it has tagged GTIDs, which cannot be followed")
        if event.event_type not in {*TYPES_WITHOUT_ROWS, TAGGED_GTID} and not event.packet.flags & IGNORABLE:
            raise Gap(f"it has an event of the unknown type {event.event_type}")

    def _statement(self, event: QueryEvent) -> bool:
        statement = event.query.lstrip()
        word = statement[:12].upper()
        if word == "BEGIN" or word.startswith("XA START"):
            self.is_open = True
            return False
        if word in ("COMMIT", "ROLLBACK"):
            return True
        if word.startswith(("XA COMMIT", "XA ROLLBACK")):
            self.transaction.committed = word.startswith("XA COMMIT")
            self.transaction.finished = re.sub(r"^XA \w+\s*", "", statement, flags=re.IGNORECASE).split(" ")[0]
            return True
        names = self.statements.rewritten(self._logged(event))
        self.transaction.rewritten.update(
            *(self.models.values() if CHANGES in names else (self.models[name] for name in names))
        )
        return not self.is_open

    def _logged(self, event: QueryEvent) -> Statement:
        # MySQL omits the list if it is too long. MariaDB has no such list.
        unlisted = [] if self.stream.is_mariadb else [self.statements.database]
        updated = [_text(name) for name in getattr(event, "mts_accessed_db_names", unlisted)]
        is_utf8 = _is_utf8(getattr(event, "character_set_client", None))
        schema = _text(event.schema)
        return Statement(event.query, schema, getattr(event, "sql_mode", 0), is_utf8, frozenset(updated))

    def _rows(self, event: RowsEvent) -> None:
        if event.table == CHECKPOINTS:
            # The follower's own transactions start with its checkpoint row. Their changes need not be read.
            readings, own = OURS
            with suppress(Exception):  # if the row is unreadable, read the transaction like any other
                self.is_own = self.is_own or own in rows.keys(event, readings)
        elif event.table != CHANGES:
            self._written(event)
        elif isinstance(event, WriteRowsEvent) and not self.is_own:
            self.late.append(event)
            if len(self.late) > LATE_CHANGES:
                self._recorded()

    def _written(self, event: RowsEvent) -> None:
        name = event.table.lower()
        try:
            self.transaction.keys.wrote(rows.keys(event, self.tables[name]))
        except Exception as error:
            # Logged before binlog_row_metadata=FULL or before the key was renamed, of a type that the library lacks, or
            # without a foreign key from before the write.
            if not self.models[name] <= self.transaction.rewritten:
                logger.warning("Rows of %s cannot be read from the log: %r", event.table, error)
            self.transaction.rewritten |= self.models[name]

    def _decide_late(self) -> None:
        """Decodes the changes only if the transaction wrote rows of mirrored tables: most transactions write none."""
        if self.late and self.transaction.keys:
            self._recorded()

    def _recorded(self) -> None:
        for event in self.late:
            try:
                changes = [row["values"] for row in event.rows]
                named = map(_key, changes)
                self.transaction.keys.recorded({key for key in named if key})
            except Exception as error:  # recording a change twice is harmless
                logger.warning("Changes cannot be read from the log: %r", error)
        self.late.clear()


def _key(change: dict[str, Any]) -> Key | None:
    """What a recorded change names, as `rows.keys` does; None for a range of a backfill."""
    if via := change.get("via"):
        return f"{change['model']}{VIA}{via}", change["until"]
    return None if change["until"] else (change["model"].partition("@")[0], change["key"])


def file_created(server: Server, file: str) -> int:
    """Returns when the server created this log file, in seconds since 1970. Raises Gap if there is no such file."""
    stream = BinLogStreamReader(
        connection_settings=server.read_as_replica(),
        server_id=_server_id(),
        pymysql_wrapper=_connect,
        log_file=file,
        log_pos=4,
        resume_stream=True,
        only_events=[FormatDescriptionEvent],
        enable_logging=False,
    )
    try:
        return stream.fetchone().timestamp
    except pymysql.MySQLError as error:
        if error.args[:1] and error.args[0] in DENIED:
            raise server.denied() from error
        raise _gap(error) from error
    finally:
        stream.close()


def _gap(error: pymysql.MySQLError) -> Exception:
    """Returns Gap if the error means that the log cannot be read from this position, otherwise the error itself."""
    number, text = (*error.args, "", "")[:2]
    return Gap(str(text)) if number == UNREADABLE and "same server" not in str(text) else error


class _Names(frozenset[str]):
    """Case-insensitive names: with lower_case_table_names, the log may have other capitals than Django's settings."""

    def __new__(cls, names: Iterable[str]) -> _Names:
        return super().__new__(cls, map(str.lower, names))

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())


def _connect(**settings: Any) -> Any:
    if "db" in settings:
        settings["database"] = settings.pop("db")
    return Connection(**settings)


def _server_id() -> int:
    """Returns a random id: if two replicas have the same id, the server disconnects the older one."""
    return secrets.randbelow(2**31) + 2**31


def _known_events(of: type[BinLogEvent] = BinLogEvent) -> set[type[BinLogEvent]]:
    """Returns all classes of events that the library parses."""
    found = {of}
    for one in of.__subclasses__():
        found |= _known_events(one)
    return found


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def _is_utf8(collation: int | None) -> bool:
    """Returns whether a client with the collation of this number sends UTF-8 or ASCII."""
    try:
        return collation is None or charset_by_id(collation).name.startswith(("utf8", "ascii"))
    except KeyError:
        return False
