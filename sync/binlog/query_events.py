"""Reads statements in the log of MariaDB 11.5 and later, which the library cannot read.

A logged statement starts with a list of variables. Each has a number, which determines the length of its value, so one
unknown number makes the rest unreadable. The library does not know `character_set_collations`, which these versions
log with statements that depend on it, such as CREATE TABLE. For the format, see Q_CHARACTER_SET_COLLATIONS in MariaDB's
sql/log_event.h.
"""

from __future__ import annotations

from typing import Any

from pymysqlreplication.event import QueryEvent

CHARACTER_SET_COLLATIONS = 0x83
PAIR = 4  # bytes: the numbers of a character set and of its default collation in this session

_read_what_the_library_knows = QueryEvent._read_status_vars_value_for_key


def _read(event: Any, number: int) -> None:
    if number == CHARACTER_SET_COLLATIONS:
        event.packet.advance(PAIR * event.packet.read_uint8())
    else:
        _read_what_the_library_knows(event, number)


def install() -> None:
    """Makes the library skip the variable, in this process."""
    QueryEvent._read_status_vars_value_for_key = _read
