"""A foreign host in a request never appears in a response."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.world import World

pytestmark = pytest.mark.django_db

FOREIGN = ["evil.example", "testserver.evil.example", "testserver@evil.example", "evil.example:80", "[::1]evil", "a b"]
FORWARDED = {
    "x-forwarded-host": "evil.example", "x-forwarded-server": "evil.example", "x-host": "evil.example",
    "x-original-url": "//evil.example/", "x-rewrite-url": "//evil.example/", "x-forwarded-port": "1234",
    "x-forwarded-prefix": "//evil.example", "forwarded": "host=evil.example;proto=https", "origin": "null",
}  # fmt: skip


@pytest.mark.parametrize("who", ["nobody", "customer", "superuser"])
def test_no_address_answers_to_a_foreign_host(made: World, covered: dict[str, set[str]], who: str) -> None:
    covered["roles"].add(who)
    client = Client() if who == "nobody" else made.clients[who]
    for number, (route, address) in enumerate(made.addresses().items()):
        if "logout" in route or route == "healthz":  # a health probe uses the machine's own address
            continue
        covered["addresses"].add(route)
        answer: Any = client.get(address, headers={"host": FOREIGN[number % len(FOREIGN)]})
        assert answer.status_code == 400, (who, address)
        assert b"evil" not in b"".join(answer), (who, address)


@pytest.mark.parametrize("who", ["nobody", "customer", "superuser"])
def test_no_address_repeats_a_forwarded_host(made: World, covered: dict[str, set[str]], who: str) -> None:
    client = Client() if who == "nobody" else made.clients[who]
    for route, address in made.addresses().items():
        if "logout" in route:
            continue
        answer: Any = client.get(address, headers=FORWARDED)
        text = f"{answer.headers}{b''.join(answer).decode(errors='replace')}"
        assert "evil.example" not in text, (who, address)
        assert ":1234" not in text, (who, address)
