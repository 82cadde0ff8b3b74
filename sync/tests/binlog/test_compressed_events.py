"""Compressed events become the plain ones that the library reads, and damaged ones an error instead of wrong rows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from pymysql.protocol import MysqlPacket
from pymysqlreplication.constants import BINLOG

from sync.binlog import compressed
from sync.binlog.compressed import NONE, PAYLOAD, QUERY, Connection

pytestmark = pytest.mark.quick

CHECKSUM = b"abcd"
END = 5000  # the position after the event


def event(kind: int, body: bytes, at: int = 9) -> bytes:
    return struct.pack("<IBIIIH", at, kind, 1, 19 + len(body), END, 0) + body


class Server(Connection):
    """A connection to a server that sends these packets."""

    def __init__(self, *packets: bytes) -> None:
        self.packets = list(packets)
        self.encoding = "utf8"

    def received(self) -> list[bytes]:
        found = []
        while self.packets or getattr(self._inside, "gi_frame", None):
            found.append(self._read_packet().get_all_data())
        return found


@pytest.fixture(autouse=True)
def _packets(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(connection: Any, packet_type: Any = MysqlPacket) -> Any:
        return packet_type(connection.packets.pop(0), "utf8")

    monkeypatch.setattr(compressed.pymysql.connections.Connection, "_read_packet", read)


def zipped(plain: bytes, first: int = 0x82) -> bytes:
    return bytes([first]) + len(plain).to_bytes(2, "big") + zlib.compress(plain)


# A statement in the database "shop", with three bytes of variables.
BEFORE_TEXT = struct.pack("<IIBHH", 7, 0, 4, 0, 3) + b"\x03\x01\x02" + b"shop\0"
# Rows of the table 7 with nine columns, and an update's two bitmaps.
BEFORE_ROWS = (7).to_bytes(6, "little") + b"\x01\x00" + b"\x09" + b"\xff\x01"
TEXT = b"CREATE TABLE goods (id INT)" * 10


@pytest.mark.parametrize("checksum", [b"", CHECKSUM])
@pytest.mark.parametrize(
    ("kind", "plain_kind", "before"),
    [
        (QUERY, BINLOG.QUERY_EVENT, BEFORE_TEXT),
        (166, BINLOG.WRITE_ROWS_EVENT_V1, BEFORE_ROWS),
        (167, BINLOG.UPDATE_ROWS_EVENT_V1, BEFORE_ROWS + b"\xff\x01"),
        (168, BINLOG.DELETE_ROWS_EVENT_V1, BEFORE_ROWS),
    ],
)
def test_an_event_of_mariadb_becomes_the_plain_one(kind: int, plain_kind: int, before: bytes, checksum: bytes) -> None:
    sent = b"\0" + event(kind, before + zipped(TEXT) + checksum)
    assert Server(sent).received() == [b"\0" + event(plain_kind, before + TEXT + checksum)]


def payload(content: bytes, compression: int = 0) -> bytes:
    field = bytes([compression]) if compression < 251 else b"\xfc" + struct.pack("<H", compression)
    return (
        b"\x02" + bytes([len(field)]) + field + b"\x03\x03\xfc" + struct.pack("<H", len(RAW))
        + b"\x01\x03\xfc" + struct.pack("<H", len(content)) + b"\x00" + content
    )  # fmt: skip


def zstd(*contents: bytes) -> bytes:
    return b"".join(zstandard.ZstdCompressor().compress(one) for one in contents)


INSIDE = [(BINLOG.QUERY_EVENT, b"BEGIN"), (BINLOG.WRITE_ROWS_EVENT_V2, b"rows" * 9000), (BINLOG.XID_EVENT, b"12345678")]
RAW = b"".join(struct.pack("<IBIIIH", 9, kind, 1, 19 + len(body), 0, 0) + body for kind, body in INSIDE)


@pytest.mark.parametrize(
    "content", [payload(zstd(RAW)), payload(zstd(RAW[:70], RAW[70:])), payload(RAW, NONE)], ids=["one", "two", "none"]
)
@pytest.mark.parametrize("checksum", [b"", CHECKSUM])
def test_a_transaction_of_mysql_becomes_its_events_at_one_position(content: bytes, checksum: bytes) -> None:
    before, after = b"\0" + event(BINLOG.GTID_LOG_EVENT, b"gtid"), b"\0" + event(BINLOG.GTID_LOG_EVENT, b"next")
    inside = [b"\0" + event(kind, body + checksum) for kind, body in INSIDE]
    connection = Server(before, b"\0" + event(PAYLOAD, content + checksum), after)
    assert [connection._read_packet().get_all_data() for _ in range(5)] == [before, *inside, after]


def test_other_packets_pass_unchanged() -> None:
    row = b"\0" + bytes([0, 0, 0, 0, PAYLOAD]) + b"the value of a column in a result"
    plain = b"\0" + event(BINLOG.QUERY_EVENT, b"BEGIN")
    assert Server(row, plain, b"\0").received() == [row, plain, b"\0"]


DAMAGED: dict[str, Callable[[], bytes]] = {
    "an unknown method": lambda: event(166, BEFORE_ROWS + zipped(TEXT, first=0x92)),
    "not compressed": lambda: event(166, BEFORE_ROWS + b"\x02\x01\x00" + zlib.compress(TEXT)),
    "another size": lambda: event(166, BEFORE_ROWS + zipped(TEXT)[:1] + b"\x00\x09" + zlib.compress(TEXT)),
    "cut": lambda: event(166, BEFORE_ROWS + zipped(TEXT)[:-9]),
    "an unknown method of MySQL": lambda: event(PAYLOAD, payload(RAW, 7)),
    "a cut payload": lambda: event(PAYLOAD, payload(zstd(RAW[:-3]))),
    "a cut frame": lambda: event(PAYLOAD, payload(zstd(RAW)[:-9])),
    "a frame cut between two events": lambda: event(PAYLOAD, payload(zstd(RAW[:24]))),
    "no payload": lambda: event(PAYLOAD, b"\x00"),
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_event_raises(damaged: Callable[[], bytes]) -> None:
    with pytest.raises((ValueError, LookupError, zlib.error, zstandard.ZstdError)):
        Server(b"\0" + damaged()).received()
