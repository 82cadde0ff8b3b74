"""Reads the description of a table in the log once, until it changes.

The server describes a table, with all its columns, in front of the rows of each transaction. Reading that takes the
library longer than reading the rows of a small transaction, and it is nearly always the same as before.
"""

from __future__ import annotations

from typing import Any

from pymysqlreplication.row_event import TableMapEvent

HEADER = 20  # bytes in front of the description: the status of the packet, and the header of the event
NUMBER = 6  # bytes of the table's number, with which the description starts

_read_by_the_library = TableMapEvent.__init__


def _read(event: Any, packet: Any, size: int, tables: dict[int, Any], *args: Any, **kwargs: Any) -> None:
    description = packet.packet.get_all_data()[HEADER : HEADER + size]
    number = int.from_bytes(description[:NUMBER], "little")
    known = tables.get(number)
    if getattr(known, "_description", None) == description:
        event._processed, event.table_id, event.table_obj = True, number, known
        return
    _read_by_the_library(event, packet, size, tables, *args, **kwargs)
    if event._processed:
        event.table_obj._description = description


def install() -> None:
    """Makes the library use what it has read before, in this process."""
    TableMapEvent.__init__ = _read
