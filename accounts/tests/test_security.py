"""Strangers cannot find out who has an account: every response takes the same amount of hashing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """Counts the password hashes during a call, which take nearly all of the time of a login."""
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


def test_a_login_takes_the_same_work_for_known_and_unknown_users(ada: User, hashes: Any, person: Any) -> None:
    person("gone", is_active=False)
    logins = ["ada", "ADA", "ada@example.com", "eve", "eve@example.com", "gone"]
    work = {
        login: hashes(lambda login=login: Client().post("/login/", {"login": login, "password": "wrong"}))
        for login in logins
    }
    assert work == dict.fromkeys(logins, 1)


def test_a_registration_takes_the_same_work_for_known_and_unknown_addresses(ada: User, hashes: Any) -> None:
    def register(username: str, email: str) -> Any:
        form = {"first_name": "A", "last_name": "B", "username": username, "email": email, "requested_role": ""}
        return Client().post("/register/", form | {"password1": PASSWORD, "password2": PASSWORD})

    known = hashes(lambda: register("other", "ada@example.com"))
    assert known == hashes(lambda: register("grace", "grace@example.com")) > 0


def test_a_reset_takes_the_same_work_for_known_and_unknown_addresses(ada: User, hashes: Any) -> None:
    def reset(email: str) -> int:
        return hashes(lambda: Client().post("/password/reset/", {"email": email}))

    assert reset("ada@example.com") == reset("eve@example.com") == 0
