"""Random statements of all kinds and spellings around a mirrored table: at the end every document matches its row.

FOLLOW_STATEMENTS is their number (400 by default; 50,000 for a thorough run, with -s to see its progress). SEED
repeats a run.
"""

import os
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections
from pymongo.database import Database

from sync.binlog.log import LogReader, Transaction
from sync.binlog.position import Position
from sync.binlog.server import Server
from sync.binlog.tables import followed_tables
from sync.tests.support import follow
from sync.tests.support.follow import following, sql
from sync.tests.support.processes import Process
from sync.tests.support.spelling import (
    HARMLESS,
    LOGGED_AS_STATEMENTS,
    MARIADB_REWRITING,
    MIRRORED,
    OLD,
    REWRITING,
    SPARE,
    Speller,
)  # fmt: skip
from tests.servers import SERVERS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

COUNT = int(os.environ.get("FOLLOW_STATEMENTS", "400"))
BATCH = 500  # statements between two comparisons
ROWS = f"SELECT id, text, `integer` FROM {MIRRORED}"
LABEL = "zoo.typed"
# Objects by which a statement reaches the mirrored table without naming it.
ROUTINES = [
    f"TRIGGER zt_trigger_insert AFTER INSERT ON zt_trigger FOR EACH ROW UPDATE {MIRRORED} SET `integer` = 11",
    f"VIEW zt_view AS SELECT * FROM {MIRRORED}",
    f"PROCEDURE zt_procedure() UPDATE {MIRRORED} SET `integer` = `integer` + 21",
    "FUNCTION zt_function() RETURNS INT DETERMINISTIC "
    f"BEGIN UPDATE {MIRRORED} SET `integer` = `integer` + 31; RETURN 1; END",
]


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    if SERVERS.mariadb is not None:
        SERVERS.mariadb.sql("GRANT SUPER, BINLOG ADMIN ON *.* TO portal@'%'")
    connection.close()
    yield
    if SERVERS.mariadb is not None:
        SERVERS.mariadb.sql("REVOKE SUPER, BINLOG ADMIN ON *.* FROM portal@'%'")
    follow.revoke()


@pytest.fixture
def tables(_rights: None) -> Iterator[None]:
    """Creates the objects that the statements use besides the mirrored table, and restores the table at the end."""
    sql(f"CREATE TABLE zt_shape LIKE {MIRRORED}")
    for name in ("zt_plain", SPARE):
        sql(f"CREATE TABLE {name} LIKE zt_shape")
    if SERVERS.mariadb is not None:
        sql("CREATE TABLE zt_trigger (id int)")
    yield
    connection.close()
    sql("SET FOREIGN_KEY_CHECKS = 0")
    sql(f"DROP TABLE IF EXISTS {MIRRORED}")
    sql(f"CREATE TABLE {MIRRORED} LIKE zt_plain")
    for (name,) in sql("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"):
        if name.startswith("zt_"):
            sql(f"DROP {'VIEW' if name in ('zt_view', 'zt_seen') else 'TABLE'} IF EXISTS {name}")
    for kind in ("PROCEDURE zt_procedure", "PROCEDURE zt_done", "FUNCTION zt_function"):
        sql(f"DROP {kind.split(' ')[0]} IF EXISTS {kind.split(' ')[1]}")


class Fuzz:
    """Runs random statements, and records the effect of each and its position in the log."""

    def __init__(self, process: Process, mongo: Database, seed: int) -> None:
        self.process = process
        self.mongo = mongo
        self.chance = random.Random(seed)
        self.server = Server("default")
        self.speller = Speller(self.chance, self.server.database, self.server.is_mariadb)
        self.samples = [*REWRITING, *([*MARIADB_REWRITING] if self.server.is_mariadb else [])]
        self.rows: Any = None
        self.end = ("", 0)
        self.number = self.statements = self.changed = self.harmless = 0

    def batch(self) -> None:
        """Runs a batch of statements, then checks the log's verdict on each, and compares documents with rows."""
        self._session()
        begin, done = self.server.position(), []
        for _ in range(BATCH // 4):
            self._fill()
            kind = self.chance.random()
            if kind < 0.2:
                done += [self._run(template, harmless=True) for template in self._harmless()]
            elif kind < 0.4 and self.server.is_mariadb:
                done += self._as_statement(self.chance.choice(LOGGED_AS_STATEMENTS))
            else:
                done += [self._run(template) for template in self.chance.choice(self.samples)]
        self._check_the_log(begin, done)
        self.process.until(self._is_equal, seconds=60)

    def _session(self) -> None:
        connection.close()
        self.speller.ansi = self.chance.random() < 0.3
        sql("SET FOREIGN_KEY_CHECKS = 0")
        sql(f"SET SESSION sql_mode = '{'ANSI_QUOTES' if self.speller.ansi else ''}'")

    def _fill(self) -> None:
        """Restores the tables, and fills them with ordinary writes."""
        names = {name for (name,) in sql("SHOW TABLES")}
        for name in {MIRRORED, SPARE, "zt_shape"} - names:
            sql(f"CREATE TABLE {name} LIKE zt_plain")
        for name in {OLD, "zt_parts", "zt_other", "zt_another"} & names:
            sql(f"DROP TABLE {name}")
        for name in (MIRRORED, SPARE):
            rows = ", ".join(self._row(name) for _ in range(3))
            sql(f"INSERT INTO {name} (id, text, small, `integer`, big) VALUES {rows}")
        self.rows, self.end = self._rows(), self.server.end()

    def _row(self, name: str) -> str:
        self.number += 1
        key = str(uuid.UUID(int=self.number)) if self.server.is_mariadb else f"{self.number:032x}"
        return f"('{key}', '{name} ☃', {self.chance.randrange(3)}, {1000 + self.number}, {-self.number})"

    def _harmless(self) -> list[str]:
        """Returns some of the statements, with those that they need."""
        at = self.chance.choice([0, 2, 4, 5, 6, 7, 12, 14])
        end = next((end for end in (2, 4, 5, 6, 7, 12, 14, 16) if end > at), None)
        return HARMLESS[at:end]

    def _as_statement(self, sample: list[str]) -> list[tuple[Any, ...]]:
        for text in ROUTINES:
            sql(f"CREATE OR REPLACE {text}")
        try:
            sql("SET SESSION binlog_format = STATEMENT, tx_isolation = 'REPEATABLE-READ'")
            return [self._run(template) for template in sample]
        finally:
            sql("SET SESSION binlog_format = ROW, tx_isolation = 'READ-COMMITTED'")

    def _run(self, template: str, harmless: bool = False) -> tuple[Any, ...]:
        """Runs a statement. Records its text, its known effect, and the log's positions before and after."""
        text = self.speller.spell(template, executes_comments=not harmless)
        rows, end = self.rows, self.end
        try:
            sql(text)
        except DatabaseError as error:
            if error.args[0] != OTHER_HISTORY:
                raise
        self.rows, self.end = self._rows(), self.server.end()
        self.statements += 1
        self.changed += rows != self.rows
        self.harmless += harmless
        return text, rows != self.rows, harmless, end, self.end

    def _rows(self) -> Any:
        try:
            return sorted(sql(ROWS))
        except DatabaseError as error:
            return str(error)

    def _check_the_log(self, begin: Position, done: list[tuple[Any, ...]]) -> None:
        reader = LogReader(self.server, begin, followed_tables())
        found: list[Transaction] = []
        for item in reader:
            if item is not None:
                found.append(item)
            if (item.file, item.offset) >= self.end if item else reader.idle_at >= self.end:
                break
        reader.close()
        for text, has_changed, harmless, before, after in done:
            own = [one for one in found if before < (one.file, one.offset) <= after]
            seen = any(
                LABEL in one.rewritten or any(label == LABEL for label, _ in one.keys.after(None)) for one in own
            )
            assert seen or not has_changed, f"not detected: {text!r}"
            assert not harmless or not any(one.rewritten for one in own), f"detected but harmless: {text!r}"

    def _is_equal(self) -> bool:
        try:
            rows = {str(key).replace("-", ""): (text, number) for key, text, number in sql(ROWS)}
        except DatabaseError:
            self._fill()
            return False
        found = {one["_id"].hex(): (one["text"], one.get("integer")) for one in self.mongo[MIRRORED].find()}
        return rows == found


OTHER_HISTORY = 1731  # error number: MySQL cannot exchange a partition with a table with other instant columns


def test_documents_match_their_rows_after_random_statements(tables: None, mongo: Database) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    begun = printed_at = time.monotonic()
    with following(and_relaying=True) as process:
        fuzz = Fuzz(process, mongo, seed)
        while fuzz.statements < COUNT:
            fuzz.batch()
            if time.monotonic() > printed_at + 10:
                printed_at = time.monotonic()
                print(f"{fuzz.statements:,} statements in {printed_at - begun:.0f} s", flush=True)
    connections.close_all()
    print(
        f"{fuzz.statements:,} statements, {fuzz.changed:,} of which changed rows, {fuzz.harmless:,} harmless ones, "
        f"in {time.monotonic() - begun:.0f} s"
    )
    assert fuzz.changed > COUNT / 5
