"""Reads compressed logs: a connection on which every event of the log arrives as if the server had not compressed it.

MariaDB (`log_bin_compress`) compresses the rows of an event or the text of a statement with zlib. What precedes them
stays as it is, so such an event becomes the plain one by putting the decompressed bytes in their place.

MySQL (`binlog_transaction_compression`) puts all events of a transaction except its GTID into one event, compressed
with zstd. They arrive here one after the other, each with the position after the whole transaction: a position inside
does not exist, and a follower that was killed reads the transaction again from its start.

Memory: a compressed event is held whole, because a server sends it in one piece. A MySQL server writes a transaction
uncompressed if it would exceed `max_allowed_packet` when compressed. Its events are decompressed one at a time.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import pymysql
import zstandard
from pymysql.protocol import MysqlPacket
from pymysqlreplication.constants import BINLOG

HEADER = struct.Struct("<IBIIIH")  # of an event: time, type, server, size with header, position of the next, flags
STATUS = b"\0"  # the packet's first byte, in front of the event
TYPE_AT, SIZE_AT = 5, 10  # where a packet has these two parts of the header

PAYLOAD = 0x28  # MySQL's TRANSACTION_PAYLOAD_EVENT
QUERY = 165  # MariaDB's QUERY_COMPRESSED_EVENT
# MariaDB's WRITE_, UPDATE_ and DELETE_ROWS_COMPRESSED_EVENT_V1.
ROWS = {166: BINLOG.WRITE_ROWS_EVENT_V1, 167: BINLOG.UPDATE_ROWS_EVENT_V1, 168: BINLOG.DELETE_ROWS_EVENT_V1}
COMPRESSED = {PAYLOAD, QUERY, *ROWS}

# Fields of a payload, and the values of its compression. See MySQL's libs/mysql/binlog/event/binary_log.h.
END, SIZE, COMPRESSION, PLAIN_SIZE = range(4)
ZSTD, NONE = 0, 255


class Damaged(ValueError):
    """A compressed event is not what its format describes."""


class Connection(pymysql.connections.Connection):
    """A connection whose packets of the log have no compressed events. All other packets pass unchanged."""

    _inside: Iterator[bytes] = iter(())  # the events left of the payload that was received

    def _read_packet(self, packet_type: type[MysqlPacket] = MysqlPacket) -> Any:
        while (event := next(self._inside, None)) is None:
            packet = super()._read_packet(packet_type)
            data = packet.get_all_data()
            if not _is_compressed(data):
                return packet
            self._inside = _plain(data)
        return packet_type(STATUS + event, self.encoding)


def _is_compressed(data: bytes) -> bool:
    """Whether a packet is a compressed event. An event gives its size, which no other packet does at this place."""
    if len(data) <= HEADER.size or data[TYPE_AT] not in COMPRESSED or not data.startswith(STATUS):
        return False
    return int.from_bytes(data[SIZE_AT : SIZE_AT + 4], "little") == len(data) - len(STATUS)


def _plain(data: bytes) -> Iterator[bytes]:
    """Yields the plain events that a compressed one stands for. Raises Damaged, and the libraries' errors."""
    header = _Header(*HEADER.unpack_from(data, len(STATUS)))
    body = memoryview(data)[len(STATUS) + HEADER.size :]
    if header.type == PAYLOAD:
        return _events(header, body)
    if header.type == QUERY:
        return iter([_joined(header, BINLOG.QUERY_EVENT, body, _text_at(body))])
    return iter([_joined(header, ROWS[header.type], body, _rows_at(header.type, body))])


class _Header(NamedTuple):
    at: int
    type: int
    server: int
    size: int
    next: int
    flags: int

    def of(self, body_size: int, **other: int) -> bytes:
        """The bytes of a header like this one, for a body of another size."""
        return HEADER.pack(*self._replace(size=HEADER.size + body_size, **other))


# --- MariaDB ----------------------------------------------------------------------------------------------------------


def _joined(header: _Header, kind: int, body: memoryview, at: int) -> bytes:
    """The plain event: what precedes `at`, what is compressed there, and the checksum after it, which is not checked.

    One byte has the compression (zlib is 0 in its middle bits) and, in its last bits, how many bytes follow that have
    the plain size.
    """
    first, begin = body[at], at + 1 + (body[at] & 0x07)
    if first & 0xF0 != 0x80:
        raise Damaged(f"compressed by an unknown method (0x{first:02x})")
    size = int.from_bytes(body[at + 1 : begin], "big")
    read = zlib.decompressobj()
    plain = read.decompress(body[begin:], size + 1)
    if len(plain) != size or not read.eof:
        raise Damaged(f"decompresses to {len(plain)} bytes or more instead of {size}")
    rest = b"".join((body[:at], plain, read.unused_data))
    return header.of(len(rest), type=kind) + rest


def _text_at(body: memoryview) -> int:
    """Where the text of a statement starts: after its fixed part, its variables and the name of its database."""
    schema, variables = body[8], int.from_bytes(body[11:13], "little")
    return 13 + variables + schema + 1


def _rows_at(kind: int, body: memoryview) -> int:
    """Where the rows start: after the table's number, flags, the number of columns, and which of them are present."""
    columns, at = _length(body, 8)
    bitmaps = 2 if ROWS[kind] == BINLOG.UPDATE_ROWS_EVENT_V1 else 1
    return at + bitmaps * ((columns + 7) // 8)


# --- MySQL ------------------------------------------------------------------------------------------------------------


def _events(header: _Header, body: memoryview) -> Iterator[bytes]:
    """Yields the events of a payload. They have no checksums, so each gets the payload's, which is not checked."""
    fields, begin = _fields(body)
    end = begin + fields[SIZE]
    checksum = bytes(body[end:])
    left = fields.get(PLAIN_SIZE, fields[SIZE])
    with _decompressed(fields[COMPRESSION], body[begin:end]) as plain:
        while head := plain.read(HEADER.size):
            inner = _Header(*HEADER.unpack(head))
            content = plain.read(inner.size - HEADER.size)
            left -= len(head) + len(content)
            if len(content) != inner.size - HEADER.size:
                raise Damaged("ends inside an event")
            yield inner.of(len(content) + len(checksum), next=header.next) + content + checksum
    if left:  # a frame that is cut between two events ends without an error
        raise Damaged(f"decompresses to {left} bytes less than the server has compressed")


def _fields(body: memoryview) -> tuple[dict[int, int], int]:
    """The fields that describe a payload, each of them a number, and where the payload starts."""
    found: dict[int, int] = {}
    at = 0
    while True:
        field, at = _length(body, at)
        if field == END:
            return found, at
        size, at = _length(body, at)
        found[field], _ = _length(body, at)
        at += size


def _decompressed(compression: int, data: memoryview) -> IO[bytes]:
    if compression == NONE:
        return io.BytesIO(data)
    if compression == ZSTD:
        return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    raise Damaged(f"compressed by an unknown method ({compression})")


def _length(body: memoryview, at: int) -> tuple[int, int]:
    """Reads an integer of variable length. Returns it, and where the next part starts."""
    size = {252: 2, 253: 3, 254: 8}.get(body[at], 0)
    if not size:
        return body[at], at + 1
    return int.from_bytes(body[at + 1 : at + 1 + size], "little"), at + 1 + size
