"""Users for the tests of this app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.models import User

PASSWORD = "correct-horse-7"


def confirm_identity(browser: Client) -> None:
    """Confirms the password, which the portal requires before security-relevant changes."""
    browser.post("/reauthenticate/", {"password": PASSWORD})


@pytest.fixture
def person(db: None) -> Callable[..., User]:
    """Creates a user with a verified address and PASSWORD."""

    def make(username: str, **fields: Any) -> User:
        user = User.objects.create_user(username, f"{username}@example.com", PASSWORD, **fields)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        return user

    return make


@pytest.fixture
def ada(person: Callable[..., User]) -> User:
    return person("ada", first_name="Ada", last_name="Byron", role="customer")


@pytest.fixture
def superuser(person: Callable[..., User]) -> User:
    return person("root", is_staff=True, is_superuser=True)
