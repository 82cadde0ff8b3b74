"""Servers that accept alerts on this machine: mail by SMTP, and a webhook."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    path: str
    headers: Any
    body: bytes


@dataclass
class Sinks:
    """What was received. status: what the webhook answers."""

    mails: list[EmailMessage] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    status: int = 204
    smtp_port: int = 0
    http_port: int = 0

    @property
    def webhook(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/hook/secret-path"

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.mails), len(self.requests)

    def variables(self) -> dict[str, str]:
        """The environment of a process that sends its alerts here."""
        return {
            "EMAIL_URL": f"smtp://127.0.0.1:{self.smtp_port}",
            "SYNC_ALERT_EMAILS": "ops@example.com",
            "SYNC_ALERT_WEBHOOK": self.webhook,
            "SYNC_ALERT_WEBHOOK_SECRET": "a secret",
            "SYNC_ALERT_AFTER": "1",
        }


class SMTP(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs to hand over a mail."""

    def handle(self) -> None:
        self._say("220 sink")
        while line := self.rfile.readline():
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self._say("354 send the message")
                self._receive()
                self._say("250 accepted")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _receive(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        self.server.sinks.mails.append(message_from_bytes(b"".join(lines), policy=policy.default))

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class SMTPServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        sinks = self.server.sinks
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sinks.requests.append(Request(self.path, self.headers, body))
        self.send_response(sinks.status)
        if sinks.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def listening() -> Iterator[Sinks]:
    sinks = Sinks()
    with SMTPServer(("127.0.0.1", 0), SMTP) as smtp, ThreadingHTTPServer(("127.0.0.1", 0), Hook) as http:
        sinks.smtp_port, sinks.http_port = smtp.server_address[1], http.server_address[1]
        for server in (smtp, http):
            server.sinks = sinks
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        try:
            yield sinks
        finally:
            for server in (smtp, http):
                server.shutdown()
