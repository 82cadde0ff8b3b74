"""gunicorn's threaded worker, in which only complete requests get a thread.

gunicorn's own worker gives a thread to each connection and waits in it for the rest of the request, for as long as the
client likes: eight half-sent requests stop a portal with eight threads. Here the worker's event loop receives all
requests concurrently, and passes them to a thread when they are complete. A connection that takes too long is closed.
"""

from __future__ import annotations

import re
import selectors
import time
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn import http, util
from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = 10  # from the connection, or from the previous response, to the end of the headers
BODY_SECONDS = 60  # from there to the end of the body
MAX_HEAD = 64 * 1024
MAX_BODY = 10 * 1024 * 1024  # the largest form has a picture of 5 MB
MAX_WAITING = 64 * 1024 * 1024  # bytes of all incomplete requests of a worker together
LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,18})[ \t]*$", re.IGNORECASE)
ENCODED = re.compile(rb"^transfer-encoding[ \t]*:", re.IGNORECASE)


class Refused(Exception):
    """The request is answered without being passed on: status and reason."""


def missing(received: bytes | bytearray) -> int | None:
    """How many bytes of the body are missing; None if the end of the headers is.

    Raises Refused for what is too large, and for bodies without a length, which no browser sends.
    """
    head, end, _body = bytes(received[:MAX_HEAD]).partition(b"\r\n\r\n")
    if not end:
        if len(received) >= MAX_HEAD:
            raise Refused(431, "Request Header Fields Too Large")
        return None
    lines = head.split(b"\r\n")[1:]
    if any(map(ENCODED.match, lines)):
        raise Refused(411, "Length Required")
    # Which of several lengths is right is for the parser to decide, which refuses the request.
    length = max((int(found[1]) for found in map(LENGTH.match, lines) if found), default=0)
    if length > MAX_BODY:
        raise Refused(413, "Content Too Large")
    return max(len(head) + len(end) + length - len(received), 0)


class Worker(ThreadWorker):
    """HTTP/1 without TLS, as behind a proxy; with TLS it behaves like gunicorn's."""

    def enqueue_req(self, conn: TConn) -> None:
        """Called for each new connection, and for one that is kept alive and starts another request."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        if conn.parser is None:
            conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
        conn.received = bytearray(conn.parser.unreader.take_buffered())
        conn.has_head = False
        conn.timeout = time.monotonic() + HEAD_SECONDS
        conn.sock.setblocking(False)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
        self._hand_on_if_complete(conn)

    def on_pending_socket_readable(self, conn: TConn, client: Any) -> None:
        if conn.sock.fileno() == -1:  # closed by an earlier event of the same round
            return
        try:
            data = conn.sock.recv(64 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
            return
        conn.received += data
        self._hand_on_if_complete(conn)
        if sum(len(each.received) for each in self.pending_conns) > MAX_WAITING:
            self._refuse(max(self.pending_conns, key=lambda each: len(each.received)), 503, "Service Unavailable")

    def murder_pending(self) -> None:
        """Closes connections that take too long and, when the worker stops, those that have sent nothing."""
        now = time.monotonic()
        for conn in [each for each in self.pending_conns if each.timeout <= now]:
            if conn.received:
                self._refuse(conn, 408, "Request Timeout")
            else:
                self._drop(conn)
        if not self.alive:
            for conn in [each for each in self.pending_conns if not each.received]:
                self._drop(conn)

    def _hand_on_if_complete(self, conn: TConn) -> None:
        try:
            rest = missing(conn.received)
        except Refused as refused:
            self._refuse(conn, *refused.args)
            return
        if rest is not None and not conn.has_head:
            conn.has_head = True
            conn.timeout = time.monotonic() + BODY_SECONDS
        if rest == 0:
            self._forget(conn)
            conn.parser.unreader.unread(bytes(conn.received))
            conn.received = bytearray()
            conn.data_ready = True
            super().enqueue_req(conn)

    def _forget(self, conn: TConn) -> None:
        self.pending_conns.remove(conn)
        self.poller.unregister(conn.sock)

    def _drop(self, conn: TConn) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _refuse(self, conn: TConn, status: int, reason: str) -> None:
        with suppress(OSError):
            util.write_error(conn.sock, status, reason, "")
        self._drop(conn)
