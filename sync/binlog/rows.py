"""Reads the keys of the rows of one event.

The follower needs one column of each row. The library decodes all columns, which is most of the cost of following a
large transaction, so this module skips the other columns by their lengths. Events with columns that it cannot skip are
left to the library. The format: https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Rows__event.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pymysqlreplication.column import Column
from pymysqlreplication.constants import FIELD_TYPE
from pymysqlreplication.row_event import PartialUpdateRowsEvent, RowsEvent, UpdateRowsEvent

from sync.binlog.keys import Key
from sync.binlog.tables import Reading

# The length of a value in bytes. If negative: the number of bytes that store the length, in front of the value.
WIDTHS: dict[int, Callable[[Column], int]] = {
    FIELD_TYPE.TINY: lambda column: 1,
    FIELD_TYPE.SHORT: lambda column: 2,
    FIELD_TYPE.INT24: lambda column: 3,
    FIELD_TYPE.LONG: lambda column: 4,
    FIELD_TYPE.LONGLONG: lambda column: 8,
    FIELD_TYPE.FLOAT: lambda column: 4,
    FIELD_TYPE.DOUBLE: lambda column: 8,
    FIELD_TYPE.NEWDECIMAL: lambda column: _digits(column.precision - column.decimals) + _digits(column.decimals),
    FIELD_TYPE.YEAR: lambda column: 1,
    FIELD_TYPE.DATE: lambda column: 3,
    FIELD_TYPE.TIME2: lambda column: 3 + (column.fsp + 1) // 2,
    FIELD_TYPE.DATETIME2: lambda column: 5 + (column.fsp + 1) // 2,
    FIELD_TYPE.TIMESTAMP2: lambda column: 4 + (column.fsp + 1) // 2,
    FIELD_TYPE.BIT: lambda column: column.bytes,
    FIELD_TYPE.ENUM: lambda column: column.size,
    FIELD_TYPE.SET: lambda column: column.size,
    FIELD_TYPE.VARCHAR: lambda column: -1 if column.max_length <= 255 else -2,
    FIELD_TYPE.STRING: lambda column: -1 if column.max_length <= 255 else -2,
    FIELD_TYPE.BLOB: lambda column: -column.length_size,
    FIELD_TYPE.GEOMETRY: lambda column: -column.length_size,
    FIELD_TYPE.JSON: lambda column: -column.length_size,
}
WHOLE_NUMBERS = {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG}
TEXTS = {FIELD_TYPE.VARCHAR, FIELD_TYPE.STRING}
UTF8 = {"utf8mb4", "utf8mb3", "utf8", "ascii"}


def keys(event: RowsEvent, readings: Sequence[Reading]) -> set[Key]:
    """Returns the keys that all rows name; for an update that changes one, both. Raises the library's errors, and
    Incomplete.
    """
    for reading in readings:
        if reading.is_parent and not _is_complete(event, reading.column):
            raise Incomplete(f"{reading.column} is not in the row image; set binlog_row_image to FULL or NOBLOB")
    names = [reading.column for reading in readings]
    values = _skipping(event, names)
    if values is None:
        values = [_by_library(event, name) for name in names]
    return {
        (reading.label, reading.to_text(value))
        for reading, found in zip(readings, values, strict=True)
        for value in found
        if not (reading.is_parent and value is None)
    }


class Incomplete(Exception):
    """The log does not have a foreign key's value from before the write."""


def _is_complete(event: RowsEvent, name: str) -> bool:
    """Whether the first image of each row, that from before an update or a deletion, has the column."""
    at = _position(event, name)
    return at is not None and bool(event.columns_present_bitmap[at // 8] >> at % 8 & 1)


def _position(event: RowsEvent, name: str) -> int | None:
    return next((number for number, column in enumerate(event.columns) if column.name == name), None)


def _by_library(event: RowsEvent, name: str) -> set[Any]:
    if not isinstance(event, UpdateRowsEvent):
        return {row["values"][name] for row in event.rows}
    values = {row["before_values"][name] for row in event.rows}
    # A minimal row image omits the new key if it has not changed.
    return values | {row["after_values"][name] for row in event.rows} - {None}


def _skipping(event: RowsEvent, names: Sequence[str]) -> list[set[Any]] | None:
    """Returns the values of each of these columns; None if only the library can read the event."""
    positions = [_position(event, name) for name in names]
    if None in positions or isinstance(event, PartialUpdateRowsEvent):
        return None
    bitmaps = [event.columns_present_bitmap]
    if isinstance(event, UpdateRowsEvent):
        bitmaps.append(event.columns_present_bitmap2)
    packet = event.packet
    data = None
    values = []
    for at in positions:
        assert at is not None
        to_value = _reader(event.columns[at])
        images = [_image(event.columns, bitmap, at) for bitmap in bitmaps]
        known = [image for image in images if image is not None]
        found = None
        if to_value is not None and len(known) == len(images):
            data = packet.read(event.event_size - packet.read_bytes) if data is None else data
            found = _find(data, known)
        if found is None or to_value is None:
            if data is not None:
                packet.unread(data)
            return None
        values.append({to_value(value) for value in found})
    return values


def _image(columns: list[Column], bitmap: bytes, key: int) -> tuple[list[int], int] | None:
    """Returns the widths of a row image's columns, and the key's index among them (-1: it has no key)."""
    present = [number for number in range(len(columns)) if bitmap[number // 8] >> number % 8 & 1]
    if any(columns[number].type not in WIDTHS for number in present):
        return None
    widths = [WIDTHS[columns[number].type](columns[number]) for number in present]
    return widths, present.index(key) if key in present else -1


def _find(data: bytes, images: list[tuple[list[int], int]]) -> set[bytes] | None:
    """Returns the bytes of all keys; None if the widths do not add up to the event's size."""
    found: set[bytes] = set()
    at, end = 0, len(data)
    while at < end:
        for widths, key in images:
            begin = at
            at += (len(widths) + 7) // 8
            nulls = int.from_bytes(data[begin:at], "little")
            for number, width in enumerate(widths):
                if nulls and nulls >> number & 1:
                    continue
                begin = at
                if width < 0:
                    begin -= width
                    at = begin + int.from_bytes(data[at:begin], "little")
                else:
                    at += width
                if number == key:
                    found.add(data[begin:at])
    return found if at == end else None


def _reader(column: Column) -> Callable[[bytes], Any] | None:
    """Returns the function that decodes a key; None if only the library can decode it."""
    if column.type in WHOLE_NUMBERS:
        return lambda data: int.from_bytes(data, "little", signed=not column.unsigned)
    if column.type in TEXTS and column.character_set_name in UTF8:
        return bytes.decode
    return None


def _digits(count: int) -> int:
    """Returns the bytes that `count` decimal digits take: four for each nine, and as few as needed for the rest."""
    return count // 9 * 4 + (count % 9 + 1) // 2
