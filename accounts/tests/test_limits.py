"""Rate limits on login, registration and password reset: per network address and per account."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


def fail(client: Client, address: str, login: str = "ada") -> Any:
    return client.post("/login/", {"login": login, "password": "wrong"}, REMOTE_ADDR=address)


def is_limited(response: Any) -> bool:
    return "Too many failed login attempts" in response.content.decode()


def test_an_account_is_protected_from_many_addresses(ada: User) -> None:
    for number in range(5):
        assert not is_limited(fail(Client(), f"192.0.2.{number}"))
    assert is_limited(fail(Client(), "192.0.2.99"))
    response = Client().post("/login/", {"login": "ada", "password": PASSWORD}, REMOTE_ADDR="192.0.2.100")
    assert is_limited(response)


def test_an_address_that_tries_many_accounts_is_limited(ada: User) -> None:
    for number in range(10):
        assert not is_limited(fail(Client(), "192.0.2.1", f"person{number}"))
    assert is_limited(fail(Client(), "192.0.2.1", "another"))
    assert not is_limited(fail(Client(), "192.0.2.2", "another"))


def test_registration_is_limited_per_address(client: Client) -> None:
    codes = [client.post("/register/", {}, REMOTE_ADDR="192.0.2.1").status_code for _ in range(21)]
    assert codes == [200] * 20 + [429]
    assert client.post("/register/", {}, REMOTE_ADDR="192.0.2.2").status_code == 200


def test_a_reset_is_limited_per_account(ada: User) -> None:
    def reset(number: int) -> int:
        form = {"email": "ada@example.com"}
        return Client().post("/password/reset/", form, REMOTE_ADDR=f"192.0.2.{number}").status_code

    assert [reset(number) for number in range(6)] == [302] * 5 + [429]


def test_a_forwarded_address_counts_only_behind_trusted_proxies(ada: User, settings: Any) -> None:
    def fail_as(forwarded: str, login: str) -> Any:
        return Client(headers={"X-Forwarded-For": forwarded}).post("/login/", {"login": login, "password": "wrong"})

    for number in range(10):  # forged addresses do not help
        fail_as(f"192.0.2.{number}", f"person{number}")
    assert is_limited(fail_as("192.0.2.77", "another"))

    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    assert not is_limited(fail_as("192.0.2.77", "another"))
    for number in range(10):  # only the last address comes from the proxy
        fail_as(f"192.0.2.{number}, 198.51.100.1", f"stranger{number}")
    assert is_limited(fail_as("192.0.2.78, 198.51.100.1", "another"))
