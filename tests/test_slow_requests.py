"""Clients that send slowly, or never finish, do not delay others."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.request import urlopen

import pytest

from analytics_site import gunicorn_worker
from analytics_site.gunicorn_worker import MAX_BODY, MAX_HEAD, Refused, missing
from tests.portal import serving

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
INCOMPLETE = {
    "nothing": b"",
    "half a line": b"GET /hea",
    "half of the headers": HEAD + b"X-",
    "headers and no body": POST + b"\r\n",
    "half of the body": POST + b"\r\n" + b"x" * 50,
    "one and a half requests": HEAD + b"\r\n" + HEAD,
}
CLIENTS = 20


@pytest.fixture(scope="module")
def address(django_db_setup: None) -> Iterator[tuple[str, int]]:
    """A portal with one worker of four threads."""
    with serving() as found:
        yield "127.0.0.1", int(found.rpartition(":")[2])


def answer(client: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    received = b""
    while data := client.recv(65536):
        received += data
    return received


@pytest.mark.parametrize("half", INCOMPLETE.values(), ids=list(INCOMPLETE))
def test_incomplete_requests_do_not_delay_others(address: tuple[str, int], half: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(address)).sendall(half)
        time.sleep(0.3)
        begun = time.monotonic()
        with urlopen(f"http://127.0.0.1:{address[1]}/healthz", timeout=20) as page:
            assert page.status == 200
        assert time.monotonic() - begun < 2


def test_a_request_that_takes_too_long_is_closed(address: tuple[str, int]) -> None:
    """Even if the client sends a byte now and then."""
    with socket.create_connection(address, timeout=30) as client:
        begun = time.monotonic()
        client.sendall(HEAD + b"X-Slow: ")
        client.settimeout(0.5)
        received = b""
        while time.monotonic() - begun < gunicorn_worker.HEAD_SECONDS + 10:
            try:
                if not (data := client.recv(4096)):
                    break
                received += data
            except TimeoutError:
                client.sendall(b"x")
        assert received.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - begun < gunicorn_worker.HEAD_SECONDS + 3


def test_a_request_in_pieces_is_answered(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as client:
        for byte in HEAD + b"Connection: close\r\n\r\n":
            client.sendall(bytes([byte]))
        assert answer(client).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as client:
        client.sendall((HEAD + b"\r\n") * 3 + HEAD + b"Connection: close\r\n\r\n")
        assert answer(client).count(b"HTTP/1.1 200 ") == 4


def test_a_body_arrives_whole(address: tuple[str, int]) -> None:
    """The login reads the whole body to look for the CSRF token, and refuses the request because it is missing."""
    body = b"a=" + b"x" * 500_000
    head = b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(head + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body)
        assert answer(client).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
     (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), b"413"),
     (HEAD + b"X-Long: " + b"x" * MAX_HEAD, b"431")],
)  # fmt: skip
def test_requests_that_no_browser_sends_are_refused_at_once(
    address: tuple[str, int], request_: bytes, status: bytes
) -> None:
    with socket.create_connection(address, timeout=5) as client:
        client.sendall(request_)
        assert client.recv(4096).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("received", "expected"),
    [(b"", None), (HEAD, None), (HEAD + b"\r\n", 0), (POST + b"\r\n", 100), (POST + b"\r\n" + b"x" * 60, 40),
     (POST + b"\r\n" + b"x" * 200, 0), (POST + b"content-length:  7 \r\n\r\n", 100),
     (HEAD + b"X-Content-Length: 9\r\n\r\n", 0)],
)  # fmt: skip
def test_how_much_of_a_request_is_missing(received: bytes, expected: int | None) -> None:
    assert missing(received) == expected


def test_lengths_and_encodings_are_found_in_any_case() -> None:
    with pytest.raises(Refused):
        missing(b"POST / HTTP/1.1\r\ntransfer-encoding : gzip\r\n\r\n")
    assert missing(b"POST / HTTP/1.1\r\nCONTENT-LENGTH:5\r\n\r\n") == 5
