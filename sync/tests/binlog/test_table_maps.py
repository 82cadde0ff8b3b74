"""The description of a table is read once, and again as soon as it or its number is another one."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from pymysql.protocol import MysqlPacket
from pymysqlreplication.constants import BINLOG, FIELD_TYPE
from pymysqlreplication.packet import BinLogPacketWrapper
from pymysqlreplication.row_event import TableMapEvent

from sync.binlog import log  # noqa: F401  (importing it installs the code under test)

pytestmark = pytest.mark.quick

SERVER = SimpleNamespace(charset="utf8", _get_dbms=lambda: "mariadb")  # the part of a connection that the library uses


def event(tables: dict[int, Any], number: int = 7, table: bytes = b"goods", *, at: int = 1, columns: int = 1) -> Any:
    """Return the event that describes a table of integers, as the library reads it at this time."""
    names = b"".join(bytes([1, 97 + column]) for column in range(columns))
    body = (
        number.to_bytes(6, "little") + struct.pack("<HB", 1, 4) + b"shop\0" + bytes([len(table)]) + table + b"\0"
        + bytes([columns]) + bytes([FIELD_TYPE.LONG]) * columns + b"\0" + b"\0" + bytes([4, len(names)]) + names
    )  # fmt: skip
    checksum = struct.pack("<I", at)  # another one in each event
    header = struct.pack("<IBIIIH", at, BINLOG.TABLE_MAP_EVENT, 1, 23 + len(body), at, 0)
    read = BinLogPacketWrapper(
        MysqlPacket(b"\0" + header + body + checksum, "utf8"), tables, SERVER, (11, 8, 9), True,
        [TableMapEvent], {"goods"}, None, {"shop"}, None, False, False, False, True, False,
    ).event  # fmt: skip
    if read:
        tables[read.table_id] = read.get_table()  # as the library's stream does
    return read


def columns(table: Any) -> list[str]:
    return [column.name for column in table.columns]


def test_the_same_description_is_read_once() -> None:
    tables: dict[int, Any] = {}
    first = event(tables).get_table()
    for at in (2, 3):
        assert (event(tables, at=at).table_id, tables[7]) == (7, first)
        assert tables[7] is first
    assert (first.schema, first.table, columns(first)) == ("shop", "goods", ["a"])


def test_another_description_or_number_is_read_again() -> None:
    tables: dict[int, Any] = {}
    event(tables)
    event(tables, columns=2)
    assert columns(tables[7]) == ["a", "b"]
    event(tables)
    assert columns(tables[7]) == ["a"]
    event(tables, number=8)
    assert tables[8] is not tables[7]
    tables.clear()  # as at the start of the next file
    event(tables)
    assert columns(tables[7]) == ["a"]


def test_a_table_that_is_not_followed_is_never_known() -> None:
    tables: dict[int, Any] = {}
    assert event(tables, table=b"other") is None
    assert event(tables, table=b"other") is None
    assert tables == {}
