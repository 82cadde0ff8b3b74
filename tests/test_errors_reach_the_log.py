"""Every error in production logs its traceback under the request ID that the page and the header show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from http.client import IncompleteRead
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from sync.tests.support.processes import Process, finished, python, script
from tests.portal import serving, variables

pytestmark = pytest.mark.django_db(transaction=True)

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ ")


class Response(NamedTuple):
    status_code: int
    headers: Mapping[str, str]
    text: str


class Portal:
    """A running portal with URLs that fail, and its log."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self.log = log

    def get(self, path: str, **headers: str) -> Response:
        request = Request(self.address + path, headers=headers)
        try:
            with urlopen(request, timeout=20) as answer:
                return Response(answer.status, answer.headers, answer.read().decode())
        except HTTPError as error:
            with error:
                return Response(error.code, error.headers, error.read().decode())

    def lines(self) -> list[dict[str, Any]]:
        """The lines of a JSON log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def about(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("request_id") == request_id]


def portal(tmp_path_factory: pytest.TempPathFactory, **variables: str) -> Iterator[Portal]:
    log = tmp_path_factory.mktemp("log") / "stderr"
    with serving(log, DJANGO_SETTINGS_MODULE="tests.exploding", **variables) as address:
        yield Portal(address, log)


@pytest.fixture(scope="module")
def in_json(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Portal]:
    yield from portal(tmp_path_factory, LOG_FORMAT="json", TRUSTED_PROXIES="1")


@pytest.fixture(scope="module")
def in_text(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Portal]:
    yield from portal(tmp_path_factory)


def test_the_traceback_is_logged_under_the_request_id_of_page_and_header(in_json: Portal) -> None:
    response = in_json.get("/explode")
    request_id = response.headers["X-Request-ID"]
    assert response.status_code == 500
    assert f'<code class="text-break">{request_id}</code>' in response.text
    [line] = in_json.about(request_id)
    assert "Traceback" in line["exc_info"]
    assert 'raise RuntimeError(f"boom' in line["exc_info"]
    assert (line["level"], line["logger"], line["status_code"]) == ("ERROR", "django.request", 500)
    assert TIME.fullmatch(line["timestamp"])
    assert "a-local-variable" not in line["exc_info"].replace('"a-local-variable"', "")


def test_each_request_has_its_own_id(in_json: Portal) -> None:
    ids = {in_json.get(path).headers["X-Request-ID"] for path in ("/healthz", "/healthz", "/explode", "/nowhere")}
    assert len(ids) == 4


def test_a_well_formed_request_id_from_a_trusted_proxy_is_accepted(in_json: Portal, in_text: Portal) -> None:
    sent = "1-67891233-abcdef012345678912345678"
    assert in_json.get("/explode", **{"X-Request-ID": sent}).headers["X-Request-ID"] == sent
    assert in_json.about(sent)
    for wrong in ("short", "x" * 200, "<script>alert(1)</script>", 'a"b;c d e f g', "\x1b[31mred-red-red", "é" * 9):
        assert in_json.get("/healthz", **{"X-Request-ID": wrong}).headers.get("X-Request-ID", "") != wrong
    assert in_text.get("/healthz", **{"X-Request-ID": sent}).headers["X-Request-ID"] != sent, (
        "this portal trusts no proxy"
    )


def test_a_line_logged_while_streaming_has_the_request_id(in_json: Portal) -> None:
    response = in_json.get("/stream")
    assert response.text == "onetwo"
    assert [line["message"] for line in in_json.about(response.headers["X-Request-ID"])] == [
        "in the middle of a stream"
    ]


def test_an_error_while_streaming_has_the_request_id(in_json: Portal) -> None:
    with urlopen(in_json.address + "/break-off", timeout=20) as answer:
        request_id = answer.headers["X-Request-ID"]
        with pytest.raises(IncompleteRead):
            answer.read()
    [line] = in_json.about(request_id)
    assert line["message"] == "The response was interrupted by an unexpected error: /break-off"
    assert "boom" in line["exc_info"]


@pytest.mark.parametrize(
    ("path", "says"),
    [("/thread", "The thread helper ended with an unexpected error"), ("/unraisable", "nobody hears it")],
)
def test_an_uncaught_error_reaches_the_log(in_json: Portal, path: str, says: str) -> None:
    assert in_json.get(path).status_code == 200
    assert any(says in line["message"] and "Traceback" in line["exc_info"] for line in in_json.lines())


def test_djangos_own_log_lines_about_bad_requests_are_kept(in_json: Portal) -> None:
    request_id = in_json.get("/suspicious").headers["X-Request-ID"]
    lines = {line["logger"]: line for line in in_json.about(request_id)}
    assert "somebody tampers" in lines["django.security.SuspiciousOperation"]["message"]
    request_id = in_json.get("/nowhere").headers["X-Request-ID"]
    assert [line["message"] for line in in_json.about(request_id)] == ["Not Found: /nowhere"]
    in_json.get("/", Host="evil.example.com")
    assert any(line["logger"] == "django.security.DisallowedHost" for line in in_json.lines())


def test_no_log_line_contains_a_password_or_a_query_string(in_json: Portal, in_text: Portal) -> None:
    for each in (in_json, in_text):
        each.get("/explode?token=query-secret")
        log = each.log.read_text()
        assert "mysql://me:***@db/x" in log
        assert "hush-hush-42" not in log.replace('mysql://me:hush-hush-42@db/x" + hidden', "")
        assert "query-secret" not in log


@pytest.mark.parametrize(
    "text",
    ["\n2026-01-01 00:00:00,000 ERROR django.request forged", '\r\n{"level": "forged"}', "\x1b[2J", "\x9b31m",
     "\u2028forged", "\u202eforged", "\0", "\vforged"],
    ids=ascii,
)  # fmt: skip
def test_a_visitor_cannot_forge_a_log_line(in_json: Portal, in_text: Portal, text: str) -> None:
    for each in (in_json, in_text):
        each.get(f"/explode?text={quote(text)}")
        each.get(f"/nowhere/{quote(text)}")
        log = each.log.read_bytes().decode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", log)
    assert all(isinstance(line, dict) and "forged" not in line["level"] for line in in_json.lines())
    for line in in_text.log.read_text().splitlines():
        assert line.startswith("  ") or LINE.match(line), line
        assert not line.startswith("2026-01-01 00:00:00,000")


def end_badly(*kinds: str, **more: str) -> Process:
    return finished(script("tests.scripts.end_badly", *kinds, **variables() | more))


@pytest.mark.parametrize(
    ("kind", "says", "is_error"),
    [("crash", "The program ended with an unexpected error: ZeroDivisionError", True),
     ("thread", "The thread t ended", True), ("destructor", "Exception ignored in", True), ("INFO", "hello", False)],
)  # fmt: skip
def test_a_command_logs_as_the_web_server_does(kind: str, says: str, is_error: bool) -> None:
    done = end_badly(kind, LOG_FORMAT="json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [says in line["message"] for line in lines] == [True]
    assert not is_error or "ZeroDivisionError" in lines[0]["exc_info"]


def test_the_log_level_is_respected() -> None:
    first, *rest = end_badly("WARNING", "crash", LOG_LEVEL="error").stderr.splitlines()
    assert LINE.match(first)
    assert "hello" not in first
    assert all(line.startswith("  ") for line in rest)


def test_gunicorns_own_lines_have_the_same_format(in_json: Portal, tmp_path: Path) -> None:
    taken = in_json.address.rpartition("/")[2]
    command = ["-m", "gunicorn", "--no-control-socket", "--bind", taken, "analytics_site.wsgi"]
    with python(*command, LOG_FORMAT="json", **variables()) as process:
        process.until_it_says("\n")
    first = json.loads(process.stderr.splitlines()[0])
    assert first["logger"] == "gunicorn.error"


def test_the_error_page_needs_neither_template_nor_database(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    from django.test import RequestFactory

    from analytics_site import views

    def fail(*args: Any) -> None:
        raise RuntimeError("no template")

    assert views.server_error(RequestFactory().get("/")).status_code == 500
    monkeypatch.setattr(views, "render_to_string", fail)
    response = views.server_error(RequestFactory().get("/"))
    assert (response.status_code, b"Tell us this number" in response.content) == (500, True)
