"""A statement in the log is parsed correctly whichever session variables precede it."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest
from pymysql.protocol import MysqlPacket
from pymysqlreplication.constants import BINLOG
from pymysqlreplication.event import QueryEvent
from pymysqlreplication.packet import BinLogPacketWrapper

from sync.binlog import log  # noqa: F401  (importing it installs the code under test)

pytestmark = pytest.mark.quick

SERVER = SimpleNamespace(charset="utf8", _get_dbms=lambda: "mariadb")  # the part of a connection that the library uses
CHARSET = b"\x04" + struct.pack("<HHH", 45, 46, 47)  # of the client, the connection and the server
COLLATIONS = {
    "none": b"\x83\x00",
    "one": b"\x83\x01" + struct.pack("<HH", 45, 2304),
    "as MariaDB 11.8 has by default": b"\x83\x05"
    + struct.pack("<10H", 33, 2048, 35, 2560, 45, 2304, 54, 2816, 60, 3072),
}


def statement(variables: bytes) -> QueryEvent:
    """Return the event of a statement with these session variables, as the library parses it."""
    body = (
        struct.pack("<IIBHH", 7, 0, len(b"shop"), 0, len(variables)) + variables + b"shop\0CREATE TABLE goods (id INT)"
    )
    header = struct.pack("<IBIIIH", 1, BINLOG.QUERY_EVENT, 1, 19 + len(body), 0, 0)
    return BinLogPacketWrapper(
        MysqlPacket(b"\0" + header + body, "utf8"), {}, SERVER, (11, 8, 9), False,
        [QueryEvent], None, None, None, None, False, False, False, None, False,
    ).event  # fmt: skip


@pytest.mark.parametrize("collations", COLLATIONS.values(), ids=COLLATIONS)
def test_collations_of_the_session_are_skipped_at_any_position(collations: bytes) -> None:
    for variables in (CHARSET, collations + CHARSET, CHARSET + collations):
        event = statement(variables)
        assert (event.schema, event.query) == (b"shop", "CREATE TABLE goods (id INT)")
        assert (event.character_set_client, event.collation_server) == (45, 47)
