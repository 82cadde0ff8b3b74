"""Every page is Malay for a reader who chose it, including what it shows of installed packages."""

from __future__ import annotations

import re
import zoneinfo
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client

from tests.world import World

pytestmark = pytest.mark.django_db

SPOKEN = {"alt", "aria-label", "placeholder", "title"}
# Names, and words that Malay has, too.
SAME = {
    "Analytics Portal", "Bahasa Melayu", "English", "MySQL", "MongoDB", "MongoDB _id", "CSV", "CLI", "JSON",
    "15 min", "Audit", "Data", "Menu", "Model", "Status",
}  # fmt: skip
# What the rows and users of the world have.
ROWS = re.compile(
    r"""
    .*@example\.com.* | [0-9a-f]{24} | (finance|retail|news|shop|zoo)\.[\w:@\ -]+ | (pull|verify)[:\ ][\w.]+ | \w # keys
    | \d{1,2}\ Jan\ 2020 (\ \N{EN DASH}\ \d\ Jan\ 2020)? | [\d -]*\d\d:\d\d:\d\d\ UTC # times
    | 1\ Road | Account\ \d | One\.
    | own | other | ada | Laptop | adbe | tsla | buy | Gold | sports\ tickets | Brokerage # values
    | InvestmentStock | InvestmentFund | Derivatives | CurrencyService | Commodity | Leeds
    | animals | birds | clinics (\ at\ zoo_clinic_pages)? # models
    | keepers | legacys | orders | shelters | tags | typeds
    | (_id | limit | account_id | products | name | username) (,\ MySQL)? # columns
    | customer | technical_worker | senior_management | staff | superuser # users
    """,
    re.VERBOSE | re.IGNORECASE,
)
ZONES = {name.replace("_", " ") for name in zoneinfo.available_timezones()}


class Texts(HTMLParser):
    """What a page shows, and what a screen reader says of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.outside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "style", "code", "pre", "textarea"}:
            self.outside.append(tag)
        for name, value in attrs:
            if name in SPOKEN:
                self.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        if self.outside and self.outside[-1] == tag:
            self.outside.pop()

    def handle_data(self, data: str) -> None:
        if not self.outside:
            self.add(data)

    def add(self, text: str) -> None:
        text = " ".join(text.replace("· Analytics Portal", "").split()).strip("· ")
        if any(character.isalpha() for character in text):
            self.found.add(text)


def english(in_english: Any, in_malay: Any) -> set[str]:
    """The texts that the two have in common, except names and data."""
    both = Texts(in_english.content.decode()).found & Texts(in_malay.content.decode()).found
    return {text for text in both - SAME - ZONES if not ROWS.fullmatch(text)}


def is_page(answer: Any) -> bool:
    return answer.status_code == 200 and not answer.streaming and "html" in answer["Content-Type"]


def malay(client: Client, address: str, data: dict[str, str] | None = None) -> Any:
    send = client.get if data is None else client.post
    return send(address, data, headers={"accept-language": "ms"})


def test_no_page_has_an_english_text(made: World) -> None:
    """The admin is left out: its texts are Django's own. Each page is read by the first who may open it."""
    clients = {"nobody": Client(), **made.clients}
    addresses = {route: address for route, address in made.addresses().items() if not route.startswith("admin/")}
    left: dict[str, set[str]] = {}
    pages = 0
    for who in ("customer", "technical_worker", "senior_management", "superuser", "nobody"):
        for route, address in list(addresses.items()):
            answer = clients[who].get(address)
            if is_page(answer):
                if not route.startswith("two-factor/") and route:  # these differ with the reader
                    del addresses[route]
                pages += 1
                if texts := english(answer, malay(clients[who], address)):
                    left[f"{who}: {route}"] = texts
    assert left == {}
    assert pages > 50
