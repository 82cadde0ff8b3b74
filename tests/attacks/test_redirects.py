"""No page or link leads to another site, whatever the request contains."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD
from tests.world import World, undone

pytestmark = pytest.mark.django_db

ELSEWHERE = [
    "//evil.example", "///evil.example", "////evil.example", "https://evil.example", "https:evil.example",
    "https:///evil.example", "http://testserver@evil.example", "https://evil.example\\@testserver", "/\\evil.example",
    "\\\\evil.example", "\\/evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)",
    "data:text/html,x", " //evil.example", "\t//evil.example", "/\t/evil.example", "//evil.example/login/",
    "ftp://testserver/", "//testserver.evil.example",
]  # fmt: skip


def leads_to(address: str) -> str:
    """Where a browser goes: it reads backslashes as slashes, merges slashes, and drops outer spaces and line breaks."""
    seen = address.strip().replace("\\", "/").translate({ord(mark): None for mark in "\t\r\n"})
    seen = re.sub(r"^(https?:)?/{2,}|^(https?:)", lambda found: f"{found[1] or found[2] or ''}//", seen)
    there = urlsplit(urljoin("http://testserver/", seen))
    return f"{there.scheme}://{there.netloc}"


@pytest.mark.parametrize("where", ELSEWHERE)
def test_no_next_parameter_leads_to_another_site(db: None, where: str) -> None:
    ada = User.objects.create_user("ada", "ada@example.com", PASSWORD, role="customer")
    EmailAddress.objects.create(user=ada, email=ada.email, verified=True, primary=True)
    browser = Client()
    answer = browser.post("/login/", {"login": "ada", "password": PASSWORD, "next": where})
    answers = [answer]
    answers.append(browser.post("/reauthenticate/", {"password": PASSWORD, "next": where}))
    answers.append(browser.get("/login/", {"next": where}))  # already logged in: redirected
    answers.append(browser.get("/register/", {"next": where}))
    answers.append(browser.post("/logout/", {"next": where}))
    answers.append(browser.get("/logout/", {"next": where}))
    answers.append(browser.get("/admin/login/", {"next": where}))
    for number, answer in enumerate(answers):
        assert answer.status_code == 302, number
        assert leads_to(answer["Location"]) == "http://testserver", number
    page = browser.get("/login/", {"next": where}).content.decode()
    assert 'href="javascript:' not in page.lower()


NAMES = (
    "next",
    "url",
    "to",
    "back",
    "return",
    "return_to",
    "continue",
    "redirect",
    "redirect_to",
    "dest",
    "target",
)
OPENS = re.compile(r'(?:href|src|action|formaction|content)="([^"]*evil[^"]*)"')


@pytest.mark.parametrize("who", ["nobody", "customer", "technical_worker", "superuser"])
def test_no_address_leads_to_another_site(made: World, covered: dict[str, set[str]], who: str) -> None:
    """Each address, by GET and POST, with every usual name of a redirect parameter and a foreign Referer."""
    covered["roles"].add(who)
    for number, (route, address) in enumerate(made.addresses().items()):
        if "logout" in route:
            continue
        covered["addresses"].add(route)
        where = ELSEWHERE[number % len(ELSEWHERE)]
        data = dict.fromkeys(NAMES, where)
        for method in ("get", "post"):
            client = Client() if who == "nobody" else made.clients[who]
            with undone(client):
                answer: Any = getattr(client, method)(address, data, headers={"referer": "https://evil.example/"})
            if "Location" in answer.headers:
                assert leads_to(answer["Location"]) == "http://testserver", (who, method, address, where)
            elif answer.headers["Content-Type"].startswith("text/html") and not answer.streaming:
                links = OPENS.findall(answer.content.decode())
                assert [link for link in links if leads_to(unescape(link)) != "http://testserver"] == [], address


def test_a_link_to_another_site_would_be_detected() -> None:
    assert OPENS.findall('<a href="//evil.example">') == ["//evil.example"]
    assert [where for where in ELSEWHERE if leads_to(where) == "http://testserver"] == []
    assert leads_to("/profile/") == leads_to("http://testserver/profile/") == "http://testserver"
