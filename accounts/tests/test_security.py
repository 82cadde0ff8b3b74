"""What strangers may try at the doors: leading people away, learning who is here, getting more than was granted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

# --- no way leads to another site -----------------------------------------------------------------------------------

ELSEWHERE = [
    "//evil.example", "///evil.example", "////evil.example", "https://evil.example", "https:evil.example",
    "https:///evil.example", "http://testserver@evil.example", "https://evil.example\\@testserver", "/\\evil.example",
    "\\\\evil.example", "\\/evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)",
    "data:text/html,x", " //evil.example", "\t//evil.example", "/\t/evil.example", "//evil.example/login/",
    "ftp://testserver/", "//testserver.evil.example",
]  # fmt: skip


def leads_to(address: str) -> str:
    """Where a browser goes: a backslash is a slash, two or more are two, blanks around and line breaks are nothing."""
    seen = address.strip().replace("\\", "/").translate({ord(mark): None for mark in "\t\r\n"})
    seen = re.sub(r"^(https?:)?/{2,}|^(https?:)", lambda found: f"{found[1] or found[2] or ''}//", seen)
    there = urlsplit(urljoin("http://testserver/", seen))
    return f"{there.scheme}://{there.netloc}"


@pytest.mark.parametrize("where", ELSEWHERE)
def test_no_way_back_leads_elsewhere(ada: User, where: str) -> None:
    browser = Client()
    answer = browser.post("/login/", {"login": "ada", "password": PASSWORD, "next": where})
    answers = [answer]
    answers.append(browser.post("/reauthenticate/", {"password": PASSWORD, "next": where}))
    answers.append(browser.get("/login/", {"next": where}))  # logged in already: sent on
    answers.append(browser.get("/register/", {"next": where}))
    answers.append(browser.post("/logout/", {"next": where}))
    answers.append(browser.get("/logout/", {"next": where}))
    answers.append(browser.get("/admin/login/", {"next": where}))
    for number, answer in enumerate(answers):
        assert answer.status_code == 302, number
        assert leads_to(answer["Location"]) == "http://testserver", number
    page = browser.get("/login/", {"next": where}).content.decode()
    assert 'href="javascript:' not in page.lower()


def test_that_test_would_see_one() -> None:
    assert [where for where in ELSEWHERE if leads_to(where) == "http://testserver"] == []
    assert leads_to("/profile/") == leads_to("http://testserver/profile/") == "http://testserver"


# --- nobody learns who is here --------------------------------------------------------------------------------------


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """How many passwords are hashed while something is done: nearly all of the time that a login takes."""
    count = 0
    encode = MD5PasswordHasher.encode

    def counted(*args: Any, **kwargs: Any) -> str:
        nonlocal count
        count += 1
        return encode(*args, **kwargs)

    def of(act: Callable[[], Any]) -> int:
        nonlocal count
        count = 0
        act()
        return count

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    return of


def test_a_login_takes_the_same_work_whoever_is_meant(ada: User, hashes: Any, person: Any) -> None:
    person("gone", is_active=False)
    logins = ["ada", "ADA", "ada@example.com", "eve", "eve@example.com", "gone"]
    work = {
        login: hashes(lambda login=login: Client().post("/login/", {"login": login, "password": "wrong"}))
        for login in logins
    }
    assert work == dict.fromkeys(logins, 1)


def test_a_registration_takes_the_same_work_whether_or_not_the_address_is_known(ada: User, hashes: Any) -> None:
    def register(username: str, email: str) -> Any:
        form = {"first_name": "A", "last_name": "B", "username": username, "email": email, "requested_role": ""}
        return Client().post("/register/", form | {"password1": PASSWORD, "password2": PASSWORD})

    known = hashes(lambda: register("other", "ada@example.com"))
    assert known == hashes(lambda: register("grace", "grace@example.com")) > 0


def test_a_reset_takes_the_same_work_whether_or_not_the_address_is_known(ada: User, hashes: Any) -> None:
    def reset(email: str) -> int:
        return hashes(lambda: Client().post("/password/reset/", {"email": email}))

    assert reset("ada@example.com") == reset("eve@example.com") == 0
