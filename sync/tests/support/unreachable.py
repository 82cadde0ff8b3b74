"""Simulates unreachable servers: listeners that do not respond like MongoDB, and a fake DNS."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import bson
import dns.resolver
import pytest


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen on a local port and call `answer` for each connection. Yields the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=serve, args=[connection], daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            answer(connection)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def stays_silent(connection: socket.socket) -> None:
    connection.settimeout(30)
    while connection.recv(4096):
        pass


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closes(connection: socket.socket) -> None:
    connection.recv(4096)


def speaks_http(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def speaks_mysql(connection: socket.socket) -> None:
    connection.sendall(b"J\0\0\0\x0a8.0.36\0" + b"x" * 66)
    connection.recv(4096)


def is_too_old(connection: socket.socket) -> None:
    """Respond to the first message like MongoDB 3.0."""
    hello = {"ok": 1, "ismaster": True, "maxWireVersion": 3, "minWireVersion": 0, "maxBsonObjectSize": 2**24}
    body = bson.encode(hello)
    while len(head := connection.recv(16)) == 16:
        length, request, _, opcode = struct.unpack("<iiii", head)
        connection.recv(length - 16)
        answer = (struct.pack("<iqii", 0, 0, 0, 1) if opcode == 2004 else b"\0" * 5) + body
        connection.sendall(struct.pack("<iiii", 16 + len(answer), 1, request, 1 if opcode == 2004 else 2013) + answer)


class FakeDNS:
    """Resolves names under example.test by `state`: ok, silent or unknown. Other names use the real DNS."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
        self.port = port
        self.state = "ok"
        self.over = threading.Event()
        self.getaddrinfo = socket.getaddrinfo
        monkeypatch.setattr(dns.resolver, "resolve", self.resolve)
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)

    def turn(self, state: str) -> None:
        self.state = state
        if state != "silent":
            self.over.set()

    def resolve(self, name: str, kind: str, **_: Any) -> Any:
        if self.state == "silent":
            self.over.wait(30)
        if self.state == "unknown":
            raise dns.resolver.NXDOMAIN(qnames=[dns.name.from_text(name)])
        if kind == "TXT":
            raise dns.resolver.NoAnswer(response=SimpleNamespace(question=[f"{name}. IN TXT"]))
        target = dns.name.from_text("member.example.test")
        return [SimpleNamespace(target=target, port=self.port)]

    def look_up(self, host: Any, *args: Any, **kwargs: Any) -> Any:
        if str(host).endswith("example.test"):
            if self.state == "silent":
                self.over.wait(30)
            if self.state == "unknown":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return self.getaddrinfo(host, *args, **kwargs)
