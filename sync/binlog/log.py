"""Reading the binary log, one transaction after the other."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.constants import BINLOG
from pymysqlreplication.event import (
    GtidEvent,
    HeartbeatLogEvent,
    MariadbGtidEvent,
    NotImplementedEvent,
    QueryEvent,
    RotateEvent,
    XAPrepareEvent,
    XidEvent,
)
from pymysqlreplication.row_event import (
    DeleteRowsEvent,
    PartialUpdateRowsEvent,
    RowsEvent,
    UpdateRowsEvent,
    WriteRowsEvent,
)

from sync.binlog import rows
from sync.binlog.keys import Unrecorded
from sync.binlog.position import Position
from sync.binlog.server import DENIED, Server
from sync.binlog.tables import Statements, Table
from sync.models import BinlogPosition, Change

logger = logging.getLogger(__name__)

EVENTS = [
    DeleteRowsEvent, GtidEvent, HeartbeatLogEvent, MariadbGtidEvent, NotImplementedEvent,
    PartialUpdateRowsEvent, QueryEvent, RotateEvent, UpdateRowsEvent, WriteRowsEvent, XAPrepareEvent, XidEvent,
]  # fmt: skip
HEARTBEAT = 1.0  # seconds of silence after which the server says that there is nothing new
UNREADABLE = 1236  # error number: the server cannot send what we ask for
WITHOUT_ROWS = {BINLOG.ANONYMOUS_GTID_LOG_EVENT, 0x24, 0x25}  # also group replication's bookkeeping
TAGGED_GTID = 0x2A
INCIDENT = BINLOG.INCIDENT_EVENT
IGNORABLE = 0x80  # a flag: who does not know the event may pass over it
STANDALONE = 0x01  # a flag of MariaDB's GTIDs: one statement, and no COMMIT
LATE_CHANGES = 200  # events of sync_change that are kept until the transaction ends

CHANGES, POSITIONS = Change._meta.db_table, BinlogPosition._meta.db_table


class Gap(Exception):
    """The log does not hold what comes after our position, or cannot be read there. Says why in one line."""


@dataclass
class Transaction:
    """What is to be recorded of one committed transaction.

    keys: of rows that it wrote without recording them.
    rewritten: labels of models whose rows changed without being named.
    prepared: it is an XA transaction of this name, and its changes count when it is committed.
    finished: the XA transaction of this name is over; committed: and its changes count.
    gtid: its own; "" where the server has none.
    file, offset: where the next transaction begins.
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
    at: int = 0


class LogReader:
    """Reads from `start` on. Iterating gives transactions; None when there is nothing new for a HEARTBEAT.

    Raises Gap where the position is gone, ImproperlyConfigured where a right is missing, pymysql.Error when the
    server is away. Not to be used again after an error.
    """

    def __init__(self, server: Server, start: Position, tables: dict[str, Table]) -> None:
        # Made here, because reading has a thread of its own, and Django's connection is another's.
        self.denied = server.denied()
        self.tables = tables
        self.labels = {name.lower(): table.label for name, table in tables.items()}
        self.statements = Statements(server.database, tables)
        self.file = start.file
        self.connections = 0
        self.stream = BinLogStreamReader(
            connection_settings=server.read_as_replica(),
            server_id=secrets.randbelow(2**31) + 2**31,  # unlike every other replica's: the server drops the elder
            pymysql_wrapper=self._connect,
            is_mariadb=server.is_mariadb,
            auto_position=start.gtids if start.gtids or server.is_mariadb else None,
            log_file=start.file,
            log_pos=start.offset,
            resume_stream=True,
            blocking=True,
            only_events=EVENTS,
            filter_non_implemented_events=False,
            only_schemas=[server.database],
            only_tables=[*tables, CHANGES, POSITIONS],
            slave_heartbeat=HEARTBEAT,
            enable_logging=False,
        )
        self._begin()

    def _connect(self, **settings: Any) -> Any:
        """For the library, which would connect again by itself, and read again from its first position."""
        self.connections += 1
        if self.connections > 2:  # the log's, and one to ask about tables
            raise pymysql.OperationalError(2013, "The server has closed the connection")
        if "db" in settings:
            settings["database"] = settings.pop("db")
        return pymysql.connect(**settings)

    def close(self) -> None:
        self.stream.close()

    def __iter__(self) -> Iterator[Transaction | None]:
        while True:
            event = self._next()
            if isinstance(event, HeartbeatLogEvent):
                yield None
            elif self._take(event):
                transaction = self.transaction
                transaction.at, transaction.offset, transaction.file = event.timestamp, event.packet.log_pos, self.file
                self._decide_late()
                self._begin()
                yield transaction

    def _next(self) -> Any:
        try:
            event = self.stream.fetchone()
        except pymysql.MySQLError as error:
            number, text = (*error.args, "")[:2]
            if number in DENIED:
                raise self.denied from error
            if number == UNREADABLE and "same server" not in str(text):
                raise Gap(str(text)) from error
            raise
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                raise pymysql.OperationalError(2013, str(error)) from error
            raise Gap(f"an event cannot be read: {error!r}") from error
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
        """Takes one event into account; whether the transaction is complete with it."""
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
            # The library keeps tables by number across files, but a restarted server numbers them anew.
            self.stream.table_map.clear()
            self.file = event.next_binlog
        elif isinstance(event, NotImplementedEvent):
            self._unknown(event)
        return False

    def _unknown(self, event: NotImplementedEvent) -> None:
        if event.event_type == INCIDENT:
            raise Gap("the server says that its log lacks something (an incident event)")
        if event.event_type == TAGGED_GTID and isinstance(self.stream.auto_position, str):
            raise Gap("it holds tagged GTIDs, which cannot be followed by GTID")
        if event.event_type not in {*WITHOUT_ROWS, TAGGED_GTID} and not event.packet.flags & IGNORABLE:
            raise Gap(f"an event of type {event.event_type} cannot be read (compressed?)")

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
        schema = event.schema.decode(errors="replace")
        self.transaction.rewritten |= {self.labels[name] for name in self.statements.rewritten(schema, statement)}
        return not self.is_open

    def _rows(self, event: RowsEvent) -> None:
        if event.table == POSITIONS:
            # A follower's own transaction begins with its position. What it has recorded is not worth reading.
            self.is_own = True
        elif event.table != CHANGES:
            self._written(event)
        elif isinstance(event, WriteRowsEvent) and not self.is_own:
            self.late.append(event)
            if len(self.late) > LATE_CHANGES:
                self._recorded()

    def _written(self, event: RowsEvent) -> None:
        table = self.tables[event.table]
        try:
            self.transaction.keys.wrote(rows.keys(event, table))
        except Exception as error:
            # Older than binlog_row_metadata=FULL, or than the key's present name; or a type that the library lacks.
            if table.label not in self.transaction.rewritten:
                logger.warning("Rows of %s cannot be read from the log: %r", event.table, error)
            self.transaction.rewritten.add(table.label)

    def _decide_late(self) -> None:
        """Most transactions that record changes write no row, or none unrecorded: then these are not even decoded."""
        if self.late and self.transaction.keys:
            self._recorded()

    def _recorded(self) -> None:
        for event in self.late:
            try:
                changes = [row["values"] for row in event.rows]
                self.transaction.keys.recorded(
                    {(change["model"].partition("@")[0], change["key"]) for change in changes if not change["until"]}
                )
            except Exception as error:  # recording once more does no harm
                logger.warning("Changes cannot be read from the log: %r", error)
        self.late.clear()
