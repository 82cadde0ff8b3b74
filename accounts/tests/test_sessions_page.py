"""The page of a user's sessions: what it shows, and that a session which was signed out elsewhere is refused."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from time_machine import TimeMachineFixture

from accounts.devices import in_words
from accounts.models import Session, User
from accounts.tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0 Safari/537.36"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 "
    "Mobile/15E148 Safari/604.1"
)


def log_in(name: str = "ada", agent: str = FIREFOX, address: str = "192.0.2.1") -> Client:
    browser = Client(HTTP_USER_AGENT=agent, REMOTE_ADDR=address)
    browser.post("/login/", {"login": name, "password": PASSWORD})
    return browser


def page_of(browser: Client) -> str:
    return browser.get("/sessions/").content.decode()


def names(page: str) -> list[str]:
    return re.findall(r'name="session" value="(\w+)"', page)


def is_open(browser: Client) -> bool:
    return browser.get("/profile/").status_code == 200


def test_it_lists_the_users_sessions_and_marks_this_one(ada: User, person: Callable[..., User]) -> None:
    person("eve")
    log_in("eve", CHROME, "198.51.100.9")
    log_in(agent=IPHONE, address="192.0.2.2")
    page = page_of(log_in())
    assert page.index("Firefox on Linux") < page.index("This session") < page.index("Safari on iPhone")
    assert page.index("192.0.2.1") < page.index("192.0.2.2")
    assert ("Chrome" in page, "198.51.100.9" in page, page.count("This session")) == (False, False, 1)
    assert not any(key in page for key in Session.objects.values_list("pk", flat=True)), "a session's key is a secret"


def test_one_session_is_signed_out_and_the_others_stay(ada: User) -> None:
    browser, phone, office = log_in(), log_in(agent=IPHONE), log_in(agent=CHROME)
    page = page_of(browser)
    (name,) = re.findall(r'iPhone.*?name="session" value="(\w+)"', page, re.DOTALL)
    assert browser.post("/sessions/", {"session": name}, follow=True).status_code == 200
    assert (is_open(browser), is_open(phone), is_open(office)) == (True, False, True)
    assert "iPhone" not in page_of(browser)
    assert "already ended" in browser.post("/sessions/", {"session": name}, follow=True).content.decode()


def test_all_other_sessions_are_signed_out_after_a_confirmation(ada: User, superuser: User) -> None:
    browser, phone, office, other = log_in(), log_in(agent=IPHONE), log_in(agent=CHROME), log_in("root")
    assert browser.get("/sessions/others/end/").status_code == 200
    assert is_open(phone)
    browser.post("/sessions/others/end/")
    assert (is_open(browser), is_open(phone), is_open(office), is_open(other)) == (True, False, False, True)
    assert "signed in nowhere else" in page_of(browser)


def test_nobody_signs_out_another_user_or_themself(ada: User, superuser: User) -> None:
    browser, phone, stranger = log_in(), log_in(agent=IPHONE), log_in("root")
    (of_phone,), (of_browser,) = names(page_of(browser)), names(page_of(phone))
    stranger.post("/sessions/", {"session": of_phone})
    browser.post("/sessions/", {"session": of_browser})
    browser.post("/sessions/", {"session": browser.cookies["sessionid"].value})
    assert (is_open(browser), is_open(phone)) == (True, True)


def test_a_session_that_ended_otherwise_is_not_listed(ada: User, time_machine: TimeMachineFixture) -> None:
    """By logging out, by its idle time, and by a changed password: the row of the last is still there."""
    now = datetime.datetime.now(datetime.UTC)
    time_machine.move_to(now)
    log_in(agent="Mozilla/5.0 (X11; CrOS x86_64) Chrome/143.0")
    time_machine.move_to(now + datetime.timedelta(hours=2, minutes=1))
    log_in(agent=CHROME).post("/logout/")
    log_in(agent=IPHONE)
    browser = log_in()
    new = {"password1": "another-horse-8", "password2": "another-horse-8"}
    browser.post("/password/change/", {"oldpassword": PASSWORD, **new})
    page = page_of(browser)
    assert Session.objects.filter(user=ada).count() == 3
    assert [word for word in ("Chrome", "Windows", "iPhone", "Firefox") if word in page] == ["Firefox"]
    assert "This session" in page, "though its key has changed"


def test_it_shows_when_and_from_where_a_session_was_last_seen(ada: User, time_machine: TimeMachineFixture) -> None:
    time_machine.move_to(datetime.datetime(2026, 1, 31, 20, 0, tzinfo=datetime.UTC), tick=False)
    browser = log_in()
    time_machine.move_to(datetime.datetime(2026, 1, 31, 20, 30, tzinfo=datetime.UTC), tick=False)
    browser.get("/profile/", REMOTE_ADDR="203.0.113.7")
    page = page_of(browser).replace("\u00a0", " ")
    assert "20:00:00 UTC" in page
    assert "20:30:00 UTC" in page
    assert ("203.0.113.7" in page, "192.0.2.1" in page) == (True, False)


def test_a_session_ends_with_its_user(ada: User) -> None:
    browser = log_in()
    ada.delete()
    assert not Session.objects.filter(user__isnull=False).exists()
    assert not is_open(browser)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (CHROME, "Chrome on Windows"), (FIREFOX, "Firefox on Linux"), (IPHONE, "Safari on iPhone"),
        (f"{CHROME} Edg/143.0", "Edge on Windows"), (f"{CHROME} OPR/120.0", "Opera on Windows"),
        ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/143.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 15_0) AppleWebKit/605 Version/19 Safari/605", "Safari on macOS"),
        ("curl/8.5", "Unknown browser"), ("", "Unknown browser"), ("<b>Firefox/1", "Firefox"),
    ],
)  # fmt: skip
def test_a_browser_is_named_in_words(agent: str, words: str) -> None:
    assert in_words(agent) == words


def test_a_stranger_is_asked_to_sign_in(client: Any) -> None:
    assert client.post("/sessions/others/end/")["Location"] == "/login/?next=/sessions/others/end/"
