"""Whatever is stored in a text field, no page turns it into an element, an attribute or a script.

Each column holds several payloads in turn. PAYLOADS=all tries all of them, which takes four minutes.
"""

from __future__ import annotations

import os
from html.parser import HTMLParser
from itertools import cycle
from typing import Any

import pytest
from django.db import connection, models
from django.test import Client

from tests.world import World

pytestmark = pytest.mark.django_db

PAYLOADS = [
    "<zqx>", "\"><zqx a='b'>", "'><zqx>", "</script><zqx>", "</textarea><zqx>", "</title><zqx>", "--><zqx>", "]]><zqx>",
    "\" onzqx=1 x=\"", "' onzqx=1 x='", "` onzqx=1 x=`", "javascript:zqx", " java\tscript:zqx", "data:text/html,zqx",
    "{{ zqx|safe }}{% zqx %}", "\u202e<zqx>", "<svg/onload=zqx>",
]  # fmt: skip
STEP = 4  # between a column's payloads from turn to turn; coprime to their number
TURNS = len(PAYLOADS) if os.environ.get("PAYLOADS") == "all" else 5
WHO = ("customer", "technical_worker", "senior_management", "superuser")


class Seen(HTMLParser):
    """Finds markup on a page that came from a payload."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            link = "".join((value or "").split()).lower()
            if "zqx" in name or name.startswith("on"):
                self.found.append(f"{tag} {name}")
            if name in ("href", "src", "action", "formaction") and link.startswith(("javascript:", "data:text")):
                self.found.append(f"{tag} {name}={value}")
        if "zqx" in tag:
            self.found.append(tag)


def columns(model: type[models.Model]) -> list[Any]:
    """The columns that can hold any text: not keys, choices or unique columns."""
    return [
        field
        for field in model._meta.concrete_fields
        if isinstance(field, (models.CharField, models.TextField)) and not field.primary_key and not field.choices
        and not field.unique and not field.remote_field and field.get_internal_type() in ("CharField", "TextField")
        and field.name != "password"
    ]  # fmt: skip


def plant(made: World, turn: int, covered: dict[str, set[str]]) -> None:
    """Writes the payloads by SQL, so that no form can reject them."""
    payloads = cycle(PAYLOADS[number * STEP % len(PAYLOADS)] for number in range(turn, turn + len(PAYLOADS)))
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        for model, row in made.rows.items():
            for field in columns(model):
                covered["fields"].add(f"{model._meta.label}.{field.name}")
                text = next(payloads)[: field.max_length]
                key = model._meta.pk
                assert key is not None
                cursor.execute(
                    f"UPDATE {model._meta.db_table} SET {quote(field.column)} = %s WHERE {quote(key.column)} = %s",
                    [text, key.get_db_prep_value(row.pk, connection)],
                )


@pytest.mark.parametrize("turn", range(TURNS))
def test_no_page_turns_a_payload_into_markup(made: World, covered: dict[str, set[str]], turn: int) -> None:
    plant(made, turn, covered)
    shown = 0
    for who in WHO:
        covered["roles"].add(who)
        client: Client = made.clients[who]
        client.raise_request_exception = False
        for route, address in made.addresses().items():
            if "logout" in route:
                continue
            answer: Any = client.get(address)
            assert answer.status_code < 500, (who, address)
            if answer.streaming or not answer.headers.get("Content-Type", "").startswith("text/html"):
                continue
            covered["addresses"].add(route)
            page = answer.content.decode()
            seen = Seen()
            seen.feed(page)
            assert seen.found == [], (who, address)
            shown += "zqx" in page
    assert shown > 5  # pages that show a payload as text


def test_injected_markup_would_be_detected() -> None:
    for page in ("<zqx>", "<a onclick=x>", "<a href='java\tscript:x'>", "<img a-zqx=1>"):
        seen = Seen()
        seen.feed(page)
        assert seen.found, page
