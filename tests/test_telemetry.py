"""Errors reach Sentry, and spans of requests a collector, without what users sent, if the variables are set."""

from __future__ import annotations

import gzip
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import brotli
import pytest

from analytics_site import telemetry
from sync.tests.support.waiting import wait_for
from tests.portal import serving

pytestmark = pytest.mark.django_db(transaction=True)

ENCODINGS = {"gzip": gzip.decompress, "br": brotli.decompress, None: bytes}


class Sink:
    """A server that accepts everything. bodies: what it got, by path."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.bodies.append((self.path, ENCODINGS[self.headers["Content-Encoding"]](body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def about(self, path: str, words: str) -> list[str]:
        """The bodies posted to this path that contain these words."""
        texts = [body.decode(errors="replace") for where, body in list(self.bodies) if where == path]
        return [text for text in texts if words in text]


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    threading.Thread(target=sink.server.serve_forever, daemon=True).start()
    yield sink
    sink.server.shutdown()
    sink.server.server_close()


def explode(address: str) -> str:
    """Request a page that fails. Returns the request's id."""
    request = Request(f"{address}/explode?token=query-secret", headers={"Cookie": "sessionid=cookie-secret"})
    with pytest.raises(HTTPError) as caught, urlopen(request, timeout=20):
        pass
    with caught.value as error:
        assert error.code == 500
        return str(error.headers["X-Request-ID"])


def test_an_error_and_its_span_are_sent_with_the_request_id_and_without_secrets(sink: Sink, tmp_path: Path) -> None:
    variables = {
        "SENTRY_DSN": f"http://key@127.0.0.1:{sink.port}/1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink.port}",
    }
    with serving(tmp_path / "log", DJANGO_SETTINGS_MODULE="tests.exploding", **variables) as address:
        request_id = explode(address)
        wait_for(lambda: sink.about("/api/1/envelope/", request_id), "the error arrives")
        wait_for(lambda: sink.about("/v1/traces", request_id), "the span arrives")
    [error] = sink.about("/api/1/envelope/", "boom")
    assert "mysql://me:***@db/x" in error
    assert f"{address}/explode" in error
    [span] = sink.about("/v1/traces", request_id)
    assert "/explode" in span
    for text in (error, span):
        for secret in ("query-secret", "cookie-secret", "hush-hush-42", "a-local-variable'"):
            assert secret not in text


def test_without_the_variables_the_packages_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sentry_sdk", "opentelemetry"):
        monkeypatch.setitem(sys.modules, module, None)
    telemetry.report_errors()
    telemetry.trace_requests()
