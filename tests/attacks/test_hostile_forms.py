"""Whatever is sent to a form or a filter, no page fails: neither the page that receives it nor one that shows it later.

The test finds forms and filters in the portal's pages, so new ones are included. FUZZ_REQUESTS sets the number of
requests (250) and FUZZ_SEED the sequence; a failure shows the request and the seed.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote_plus, urlsplit

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client

from tests.browser_forms import Control, Form, forms
from tests.world import World, patterns

pytestmark = pytest.mark.django_db

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "250"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

LEAVES = {"account_logout", "admin:logout"}  # a client that posts there is signed out
# The pages that show records, users and the audit log, to a customer and to a superuser.
SHOWS = {
    "customer": re.compile(r"^(finance|dashboard/customer|profile)/(?!.*(add|edit|delete)/)"),
    "superuser": re.compile(r"^(audit/$|sync/($|record)|dashboard/management/$|admin/(finance|accounts|news)/\w+/$)"),
}
PEOPLE = ("customer", "technical_worker", "senior_management", "superuser", "nobody")
# Parameters of lists, besides those in their forms and links.
PARAMETERS = ("page", "per_page", "sort", "after", "before", "below", "o", "p", "e", "q", "year", "all", "_facets")
NUMBERS = [
    "-1",
    "0",
    "1",
    "2147483647",
    "2147483648",
    "-2147483649",
    "9223372036854775808",
    "9" * 400,
    "1e400",
    "1E+999999999",
    "NaN",
    "-Infinity",
    "0x10",
    "1_000",
    "٣",
    "1.5",
    "1,5",
    " 7 ",
    "+7",
    "00",
    "1e3",
]
DAYS = [
    "0001-01-01",
    "0999-12-31",
    "1000-01-01",
    "9999-12-31",
    "10000-01-01",
    "0000-00-00",
    "2024-02-31",
    "2020-13-01",
    "1969-12-31",
    "2020-01-01T00:00:00Z",
    "00:00:00",
    "23:59:60",
    "25:00",
    "1900-01",
    "0001-01",
    "9999-12",
]
TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\r\n",
    "\u202eabc",
    "\ufeff",
    "\U0001f600" * 50,
    "e\u0301" * 300,
    "x" * 1_000_000,
    "é" * 255,
    "%",
    "_",
    "\\",
    "' OR '1'='1",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "=1+1",
    "None",
    "on",
    "true",
    "a@b.c",
    "0" * 24,
    "f" * 24,
    "z" * 24,
    "$where",
    "[$ne]",
    "\ud7ff",
    "\x1b[31m",
    "http://[",
    "//evil.example",
    "javascript:alert(1)",
    "http://a.b/" + "x" * 600,
]
DATE = {"$date": "2020-01-31T00:00:00Z"}
DOCUMENTS = [
    "null",
    "5",
    '"text"',
    "true",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    '{"a": []}',
    "[1.5]",
    "[true]",
    '["a", "a"]',
    '[""]',
    "[" * 1000 + "]" * 1000,
    '{"a":' * 1000 + "1" + "}" * 1000,
    "[" * 31 + "]" * 31,
    "[" * 100_000,
    '{"a": 1, "a": 2}',
    '{"$where": 1}',
    '{"a.b": {"c.d": 1}}',
    '{"": {}}',
    '{"a\\u0000": {}}',
    '["\\ud800"]',
    '{"\\udc00": {}}',
    "[1e400]",
    "[NaN]",
    '[{"$numberDecimal": "abc"}]',
    '[{"$numberLong": "9999999999999999999999"}]',
    '[{"$oid": 5}]',
    '{"$date": 1}',
    '{"t": {"tier": "Gold", "benefits": [], "active": {"$numberDecimal": "NaN"}}}',
    '{"t": {"tier": "\\u0000"}}',
    '{"t": {"tier": "\\u202e", "benefits": ["\\u0000"]}}',
    '{"t": {"tier": "x", "id": {"$minKey": 1}}}',
    "[2147483647]",
    *(
        json.dumps([{"date": DATE, "amount": 2, "symbol": "sap", "transaction_code": "buy"} | odd])
        for odd in (
            {"date": {"$date": "0001-01-01T00:00:00Z"}},
            {"date": {"$date": "9999-12-31T23:59:59.999Z"}},
            {"date": {"$date": {"$numberLong": "9223372036854775807"}}},
            {"amount": {"$numberLong": "9223372036854775807"}},
            {"amount": -(2**31)},
            {"total": "9.99E+59", "price": "-9.99E+59"},
            {"total": "1E-99"},
            {"total": "1E+999999999"},
            {"price": {"$numberDecimal": "9E+6144"}},
            {"total": "0E+60"},
            {"total": "1" * 59 + "." + "1" * 100},
            {"price": {"$numberDecimal": "9.99E+59"}},
            {"total": "1_0", "price": "٣"},
            {"symbol": "", "transaction_code": ""},
            {"symbol": "\0\u202e" * 500},
            {"symbol": "x" * 100_000},
        )
    ),
]
BODIES = [
    ("multipart/form-data; boundary=x", b"--x\r\njunk"),
    ("multipart/form-data", b"--x\r\n"),
    ("text/plain", b"\0" * 100),
    ("multipart/form-data; boundary=" + "x" * 300, b"--x--"),
    ("application/json", b'{"limit": {"$gt": 0}}'),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="limit"\r\n\r\n\xff\xfe\r\n--x--',
    ),
    ("application/x-www-form-urlencoded", b"limit=%ED%A0%80&name=%00%FF&username=%80"),
    ("application/x-www-form-urlencoded; charset=utf-16", b"l\0i\0m\0i\0t\0=\0001\0"),
    ("application/x-www-form-urlencoded; charset=nonsense", b"limit=1"),
    ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % number for number in range(1500))),
]
FILES = [b"", b"junk", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"GIF89a" + b"\xff" * 50, b"<svg onload=alert(1)>"]


class Target(NamedTuple):
    """Where `who` can send something: a form of a page, or the page's own parameters."""

    who: str
    address: str
    name: str
    form: int | None  # the form's number on the page; None for the page's parameters
    weight: int = 1  # the number of controls, for the share of requests


class Fuzz:
    def __init__(self, made: World) -> None:
        self.made = made
        self.random = random.Random(SEED)
        self.clients: dict[str, Client] = {**made.clients, "nobody": Client()}
        for client in self.clients.values():
            client.raise_request_exception = False
        self.showing = [
            (address, who)
            for route, address in made.addresses().items()
            for who, shows in SHOWS.items()
            if shows.search(route)
        ]
        self.sent = ""  # the last request, for failure messages

    def ask(self, who: str, method: str, *args: Any) -> Any:
        self.sent = f"{who} {method} {str(args)[:2000]} (FUZZ_SEED={SEED})"
        answer: Any = getattr(self.clients[who], method)(*args)
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        assert answer.status_code < 500 or answer.status_code == 503, self.sent
        assert b"Traceback (most recent call last)" not in body, self.sent
        answer.text_ = body.decode(errors="replace")
        return answer

    def targets(self) -> list[Target]:
        """Each form and each page once, for a user who may use it."""
        found, seen = [], set()
        for route, address in self.made.addresses().items():
            name = next(name for name, other, _pattern in patterns() if other == route)
            if name in LEAVES:
                continue
            for who in ["superuser"] if route.startswith("admin/") else PEOPLE:
                with _undone():
                    answer = self.ask(who, "get", address)
                if answer.status_code != 200:
                    continue
                if route not in seen:
                    found.append(Target(who, address, name, None))
                    seen.add(route)
                if not answer["Content-Type"].startswith("text/html"):
                    break
                for number, form in enumerate(forms(answer.text_)):
                    key = (_target(form, address), form.method, tuple(form.names))
                    if key not in seen and form.controls and not _leaves(form, address):
                        seen.add(key)
                        found.append(Target(who, address, name, number, len(form.names)))
        return found

    def try_(self, target: Target, times: int) -> None:
        """Sends some requests in sequence, then checks that all pages can show what was stored."""
        cache.clear()
        page = self.ask(target.who, "get", target.address)
        written = False
        for _ in range(times):
            if target.form is None:
                self.ask(target.who, "get", f"{target.address}?{self._query(self._parameters(page.text_))}")
                continue
            found = forms(page.text_)
            if len(found) <= target.form:  # the page has changed
                return
            form = found[target.form]
            address = _target(form, target.address)
            if form.method == "get":
                self.ask(target.who, "get", f"{address.partition('?')[0]}?{self._query(form.names)}")
                continue
            if self.random.random() < 0.1:
                kind, body = self.random.choice(BODIES)
                answer = self.ask(target.who, "generic", "POST", address, body, kind)
            else:
                answer = self.ask(target.who, "post", address, self._data(form))
            if answer.status_code == 302:
                written = True
                if answer["Location"].startswith("/"):
                    self.ask(target.who, "get", answer["Location"])
            page = self.ask(target.who, "get", target.address)
        if written:
            self.check_pages()

    def check_pages(self) -> None:
        """Opens every page in SHOWS, as a user who may see it."""
        wrote = self.sent
        for address, who in self.showing:
            try:
                self.ask(who, "get", address)
            except Exception as error:
                raise AssertionError(f"{self.sent} does not show what was stored by {wrote}") from error

    def _parameters(self, page: str) -> list[str]:
        """The names of a page's parameters: those in its links and forms, and PARAMETERS."""
        links = [
            name for link in re.findall(r'href="\?([^"]*)"', page) for name, _ in parse_qsl(link.replace("&amp;", "&"))
        ]
        return [*links, *(name for form in forms(page) if form.method == "get" for name in form.names), *PARAMETERS]

    def _query(self, names: list[str]) -> str:
        chosen = self.random.choices(names, k=self.random.choice([1, 1, 2, 5]))
        if self.random.random() < 0.1:
            chosen.append(chosen[0] + self.random.choice(["[$ne]", "__in", "__password__startswith", "__isnull", "[]"]))
        invalid_text = ["%ED%A0%80", "%00", "%FF"]
        values = [
            self.random.choice(invalid_text) if self.random.random() < 0.2 else quote_plus(self._value(name)[:5000])
            for name in chosen
        ]
        return "&".join(f"{quote_plus(name)}={value}" for name, value in zip(chosen, values, strict=True))

    def _data(self, form: Form) -> dict[str, Any]:
        """What a browser sends, with one to three controls changed. A control may be missing or repeated."""
        data: dict[str, Any] = form.sent
        named = [control for control in form.controls if control.name and control.name != "csrfmiddlewaretoken"]
        for control in self.random.sample(named, min(len(named), self.random.choice([1, 1, 2, 3]))):
            data[control.name] = self._sent_for(control)
        for button in form.controls:
            if button.kind == "submit" and button.name and self.random.random() < 0.5:
                data[button.name] = button.choices[:1]
        if named and self.random.random() < 0.1:
            data.pop(self.random.choice(named).name, None)
        return data

    def _sent_for(self, control: Control) -> Any:
        if control.kind == "file":
            return SimpleUploadedFile("../x.png", self.random.choice(FILES), content_type="image/png")
        if control.choices and self.random.random() < 0.6:
            return self.random.choice(control.choices)
        values = [self._value(control.name, control.kind)]
        return values * 3 if self.random.random() < 0.1 else values

    def _value(self, name: str, kind: str = "") -> str:
        pools = [TEXTS, NUMBERS, DAYS, DOCUMENTS]
        likely = {"textarea": DOCUMENTS, "number": NUMBERS, "date": DAYS, "hidden": TEXTS}.get(kind)
        if "date" in name or name in ("since", "until", "first", "last"):
            likely = DAYS
        return self.random.choice(likely if likely and self.random.random() < 0.6 else self.random.choice(pools))


def _target(form: Form, address: str) -> str:
    if not form.action:
        return address
    return form.action if urlsplit(form.action).path.startswith("/") else address


def _leaves(form: Form, address: str) -> bool:
    return _target(form, address).startswith(("/logout/", "/admin/logout/"))


@pytest.fixture
def fuzz(made: World) -> Fuzz:
    return Fuzz(made)


class _Undo(Exception):
    pass


class _undone:
    """Rolls back what is stored inside the block."""

    def __enter__(self) -> None:
        self.atomic = transaction.atomic()
        self.atomic.__enter__()

    def __exit__(self, kind: Any, *error: Any) -> None:
        self.atomic.__exit__(kind or _Undo, *error) if kind else self.atomic.__exit__(_Undo, _Undo(), None)


def shares(targets: list[Target]) -> Iterator[tuple[Target, int]]:
    """The number of requests for each target: one, plus a share of the rest by weight."""
    more, weights = max(REQUESTS - len(targets), 0), sum(target.weight for target in targets)
    done = 0
    for target in targets:
        before, done = done, done + target.weight
        yield target, 1 + more * done // weights - more * before // weights


def test_no_request_makes_a_page_fail(fuzz: Fuzz, settings: Any, covered: dict[str, set[str]]) -> None:
    settings.ACCOUNT_RATE_LIMITS = False
    targets = fuzz.targets()
    assert len([target for target in targets if target.form is not None]) > 40
    routes = {address: route for route, address in fuzz.made.addresses().items()}
    for target, times in shares(targets):
        if target.form is not None:
            covered["forms"].add(f"{routes[target.address]} {target.form}")
        with _undone():
            fuzz.try_(target, times)
