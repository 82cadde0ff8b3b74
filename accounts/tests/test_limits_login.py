"""Failed logins are counted per user, whichever name or address they type, and across all processes."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD
from tests.portal import serving

TOO_MANY = "Too many failed login attempts"
counter = iter(range(1, 60_000))


def log_in(login: str, password: str = "wrong") -> Any:
    """Logs in from a network address that was not used before."""
    number = next(counter)
    address = f"10.{number // 65_536}.{number // 256 % 256}.{number % 256}"
    return Client().post("/login/", {"login": login, "password": password}, REMOTE_ADDR=address)


def is_limited(response: Any) -> bool:
    return TOO_MANY in response.content.decode()


@pytest.mark.django_db
def test_username_and_all_addresses_of_a_user_share_one_counter(ada: User) -> None:
    EmailAddress.objects.create(user=ada, email="second@example.com", verified=True)
    for login in ("ada", "ada@example.com", "ADA", "second@example.com", "Ada@Example.com "):
        assert not is_limited(log_in(login))
    for login in ("ada", "ada@example.com", "second@example.com"):
        assert is_limited(log_in(login, PASSWORD))


@pytest.mark.django_db
def test_an_unknown_name_has_one_counter_regardless_of_case() -> None:
    for login in ("nobody", "Nobody", "NOBODY", " nobody", "nobody "):
        assert not is_limited(log_in(login))
    assert is_limited(log_in("noBODY"))
    assert not is_limited(log_in("nobody2"))


@pytest.mark.django_db
def test_a_username_equal_to_another_users_address_allows_no_extra_guesses(
    person: Callable[..., User], ada: User
) -> None:
    """A login with that name checks the passwords of both users."""
    person("Ada@example.com")
    for login in ("ada", "ada@example.com", "ada", "ada@example.com", "ada"):
        assert not is_limited(log_in(login))
    assert is_limited(log_in("ada@example.com"))
    assert is_limited(log_in("ada"))


@pytest.mark.django_db
def test_a_successful_login_neither_counts_as_a_failure_nor_resets_the_counter(ada: User) -> None:
    for _ in range(4):
        assert not is_limited(log_in("ada"))
    for _ in range(3):
        assert log_in("ada@example.com", PASSWORD).status_code == 302
    assert not is_limited(log_in("ada"))
    assert is_limited(log_in("ada"))


@pytest.mark.django_db
def test_a_password_reset_lifts_the_limit_at_once(ada: User, client: Client) -> None:
    for _ in range(5):
        log_in("ada")
    client.post("/password/reset/", {"email": "ada@example.com"})
    [link] = re.findall(r"/password/reset/key/\S+", str(mail.outbox[-1].body))
    page = client.get(link, follow=True)
    form = {"password1": "another-horse-8", "password2": "another-horse-8"}
    client.post(page.redirect_chain[-1][0], form)
    assert log_in("ada", "another-horse-8").status_code == 302


class Browser:
    """Sends the login form to a running portal."""

    def __init__(self, address: str) -> None:
        self.address, self.jar = address, CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.jar))
        page = self.opener.open(f"{address}/login/").read().decode()
        self.token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[0]

    def log_in(self, login: str) -> str:
        form = {"login": login, "password": "wrong", "csrfmiddlewaretoken": self.token}
        try:
            return self.opener.open(f"{self.address}/login/", urlencode(form).encode()).read().decode()
        except HTTPError as error:
            return error.read().decode()


@pytest.mark.django_db(transaction=True)
def test_all_worker_processes_share_the_counters(ada: User) -> None:
    with serving(WEB_CONCURRENCY="3") as address:
        browsers = [Browser(address) for _ in range(25)]
        logins = [("ada", "ada@example.com")[number % 2] for number in range(25)]
        with ThreadPoolExecutor(25) as threads:
            answers = list(threads.map(Browser.log_in, browsers, logins))
        checked = [answer for answer in answers if "not correct" in answer]
        refused = [answer for answer in answers if TOO_MANY in answer or "Too many attempts" in answer]
        assert len(checked) + len(refused) == 25
        assert 1 <= len(checked) <= 5  # fewer if some waited too long for the counter and were refused
