"""A proxy that sends reads to one MySQL server and everything else to another, as ProxySQL and MaxScale can."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Any

PROTOCOL_41, SECURE, WITH_DATABASE, PLUGIN_AUTH = 1 << 9, 1 << 15, 1 << 3, 1 << 19
OK, ERROR, EOF = 0, 255, 254
QUERY = 3


class SplittingProxy:
    """Sends SELECT outside of transactions to the reader, as its user `reader` without a password."""

    def __init__(self, writer: int, reader: int) -> None:
        self.writer, self.reader = writer, reader
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def __enter__(self) -> SplittingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        writer = socket.create_connection(("127.0.0.1", self.writer))
        reader = socket.create_connection(("127.0.0.1", self.reader))
        with client, writer, reader, suppress(EOFError, OSError):
            self._log_in(reader)
            greeting = bytearray(_packet(writer))
            high = greeting.index(b"\0", 5) + 1 + 4 + 8 + 1 + 2 + 1 + 2
            greeting[high + 1] &= ~1  # no DEPRECATE_EOF: results then end with a packet that the proxy recognizes
            greeting[high + 9 : high + 13] = bytes(4)  # no MariaDB capabilities: the reader has not negotiated them
            client.sendall(greeting)
            while greeting[4] not in (OK, ERROR):
                writer.sendall(_packet(client))
                greeting = bytearray(_packet(writer))
                client.sendall(greeting)
            in_transaction = False
            while True:
                command = _packet(client)
                text = command[5:].upper() if command[4] == QUERY else b""
                if text.startswith(b"SET AUTOCOMMIT"):
                    in_transaction = text.rstrip().endswith(b"0")
                server = reader if text.startswith(b"SELECT") and not in_transaction else writer
                server.sendall(command)
                self._answer(server, client)

    @staticmethod
    def _log_in(server: socket.socket) -> None:
        _packet(server)
        capabilities = PROTOCOL_41 | SECURE | WITH_DATABASE | PLUGIN_AUTH
        login = struct.pack("<IIB23x", capabilities, 1 << 24, 45) + b"reader\0\0analytics\0mysql_native_password\0"
        server.sendall(struct.pack("<I", len(login))[:3] + b"\1" + login)
        assert _packet(server)[4] == OK

    @staticmethod
    def _answer(server: socket.socket, client: socket.socket) -> None:
        """Forward one response: a single packet, or a result set with its two EOF packets."""
        packet = _packet(server)
        client.sendall(packet)
        ends = 2 if packet[4] not in (OK, ERROR) else 0
        while ends:
            packet = _packet(server)
            client.sendall(packet)
            ends = 0 if packet[4] == ERROR else ends - (packet[4] == EOF and len(packet) < 13)


def _packet(side: socket.socket) -> bytes:
    header = _read(side, 4)
    return header + _read(side, int.from_bytes(header[:3], "little"))


def _read(side: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := side.recv(count - len(data))):
            raise EOFError
        data += more
    return data
