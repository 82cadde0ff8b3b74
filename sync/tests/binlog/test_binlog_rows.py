"""Keys that are read without decoding the rest of a row match the keys that the library decodes."""

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, RowsEvent, UpdateRowsEvent, WriteRowsEvent

from sync.binlog import rows
from sync.binlog.position import Position
from sync.binlog.server import Server
from sync.tests.support import follow
from sync.tests.support.follow import sql

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:'db' is deprecated"),  # the library's own use of its driver
]

TABLE = "every_type"
# Column types, and SQL values for such a column besides NULL.
COLUMNS = {
    "TINYINT": ["-128", "0", "127"],
    "TINYINT UNSIGNED": ["255"],
    "SMALLINT": ["-32768"],
    "MEDIUMINT": ["-8388608", "8388607"],
    "INT UNSIGNED": ["4294967295"],
    "BIGINT": ["-9223372036854775808", "9223372036854775807"],
    "FLOAT": ["1.5"],
    "DOUBLE": ["-2.5e300"],
    **{f"DECIMAL({size})": ["0", "-0.9", "0.5"] for size in ("1, 1", "9, 0", "10, 3", "20, 9", "65, 30")},
    "YEAR": ["2026"],
    "DATE": ["'1000-01-01'", "'9999-12-31'"],
    **{f"DATETIME({places})": ["'2026-02-28 23:59:59.987654'"] for places in range(7)},
    **{f"TIME({places})": ["'-838:59:58.1'", "'00:00:00'"] for places in (0, 2, 5, 6)},
    **{f"TIMESTAMP({places})": ["'2026-02-28 23:59:59.987654'"] for places in (0, 3, 6)},
    "BIT(1)": ["b'1'"],
    "BIT(33)": ["b'101'"],
    "ENUM('a', 'b')": ["'b'"],
    "SET('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i')": ["'a,i'", "''"],
    "CHAR(24)": ["''", "'5ca4bbc7a2dd94ee5816238c'"],
    "CHAR(100)": ["'ä €'"],
    "VARCHAR(20)": ["'x'"],
    "VARCHAR(63)": [f"'{'€' * 63}'"],
    "VARCHAR(64)": [f"'{'€' * 64}'"],
    "VARBINARY(300)": ["x'00ff'"],
    "BINARY(16)": ["x'0123456789abcdef0123456789abcd00'"],
    "TINYBLOB": ["x'00'", "''"],
    "TEXT": ["'a'", f"'{'b' * 60_000}'"],
    "MEDIUMTEXT": [f"'{'c' * 70_000}'"],
    "LONGTEXT": ["'[1, 2]'"],
    "JSON": ["'{\"a\": [1, null]}'"],
    "GEOMETRY": ["ST_GeomFromText('POINT(1 2)')"],
}  # fmt: skip
KEYS: dict[str, Callable[[int], str]] = {
    "CHAR(24)": lambda number: f"'{number:024x}'",
    "VARCHAR(300)": lambda number: f"'key {number} €'",
    "INT": lambda number: str(number - 3),
    "BIGINT UNSIGNED": lambda number: str(2**64 - 1 - number),
    "TINYINT": lambda number: str(number - 128),
}


@pytest.fixture
def start() -> Iterator[Position]:
    follow.grant()
    connection.close()  # privileges take effect in a new connection
    sql(f"DROP TABLE IF EXISTS {TABLE}")
    yield Server(DEFAULT_DB_ALIAS).position()
    sql(f"DROP TABLE IF EXISTS {TABLE}")
    follow.revoke()


@pytest.mark.parametrize("key", KEYS)
def test_keys_between_columns_of_every_type_are_read(key: str, start: Position) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    types = chance.sample(list(COLUMNS), len(COLUMNS))
    _make(key, types, chance.randrange(len(types) + 1))
    for number in range(20):
        values = [chance.choice([*COLUMNS[kind], "NULL"]) for kind in types]
        names = ", ".join(f"c{place}" for place in range(len(types)))
        sql(f"INSERT INTO {TABLE} (the_key, {names}) VALUES ({KEYS[key](number)}, {', '.join(values)})")
    sql(f"UPDATE {TABLE} SET c0 = NULL, c1 = NULL WHERE the_key >= {KEYS[key](9)}")
    sql(f"UPDATE {TABLE} SET the_key = {KEYS[key](30)} WHERE the_key = {KEYS[key](4)}")
    sql(f"DELETE FROM {TABLE} WHERE the_key <> {KEYS[key](30)}")
    sql(f"INSERT INTO {TABLE} (the_key) VALUES ({KEYS[key](40)})")

    ours = [found[0] for event in _events(start) if (found := rows._skipping(event, ["the_key"]))]
    theirs = [rows._by_library(event, "the_key") for event in _events(start)]
    assert ours == theirs
    assert len(set().union(*theirs)) == 22


def _make(key: str, types: list[str], place: int) -> None:
    columns = [f"c{number} {kind} NULL" for number, kind in enumerate(types)]
    columns.insert(place, f"the_key {key} PRIMARY KEY")
    sql(f"CREATE TABLE {TABLE} ({', '.join(columns)}) CHARACTER SET utf8mb4")


def _events(start: Position) -> Iterator[RowsEvent]:
    """Yields the events of the table, up to the row that is inserted after the others were deleted."""
    server, has_deleted = Server(DEFAULT_DB_ALIAS), False
    stream: Any = BinLogStreamReader(
        connection_settings=server.read_as_replica(), server_id=random.randrange(2**31), is_mariadb=server.is_mariadb,
        auto_position=start.gtids or None, log_file=start.file, log_pos=start.offset, resume_stream=True, blocking=True,
        only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent], only_schemas=[server.database],
        only_tables=[TABLE], enable_logging=False,
    )  # fmt: skip
    try:
        for event in stream:
            yield event
            has_deleted |= isinstance(event, DeleteRowsEvent)
            if has_deleted and isinstance(event, WriteRowsEvent):
                return
    finally:
        stream.close()
