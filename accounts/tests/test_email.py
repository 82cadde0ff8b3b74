"""Each email address belongs to one user, and no user can remove their last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = pytest.mark.quick


@pytest.fixture
def browser(client: Client, ada: User) -> Client:
    client.force_login(ada)
    client.post("/reauthenticate/", {"password": PASSWORD})
    return client


def confirm_from_mail(browser: Client) -> Any:
    words = [word for message in mail.outbox for word in message.body.split()]
    link = [word for word in words if "/email/confirm/" in word][-1]
    return browser.post(link, follow=True)


def test_a_new_address_must_be_confirmed_before_it_is_used(browser: Client, ada: User) -> None:
    browser.post("/email/", {"action_add": "", "email": "Ada@new.example"})
    browser.post("/email/", {"action_primary": "", "email": "ada@new.example"})
    ada.refresh_from_db()
    assert ada.email == "ada@example.com"
    confirm_from_mail(browser)
    browser.post("/email/", {"action_primary": "", "email": "ada@new.example"})
    ada.refresh_from_db()
    assert ada.email == "ada@new.example"


def test_the_last_address_cannot_be_removed(browser: Client, ada: User) -> None:
    browser.post("/email/", {"action_remove": "", "email": "ada@example.com"})
    assert EmailAddress.objects.filter(user=ada).count() == 1
    ada.refresh_from_db()
    assert ada.email == "ada@example.com"


def test_another_users_address_cannot_be_confirmed(browser: Client, ada: User, person: Callable[..., User]) -> None:
    tom = person("tom")
    EmailAddress.objects.filter(user=tom).update(verified=False)
    browser.post("/email/", {"action_add": "", "email": "tom@example.com"})
    page = confirm_from_mail(browser).content.decode()
    assert "belongs to another account" in page
    assert not EmailAddress.objects.get(user=ada, email="tom@example.com").verified


def test_without_verification_a_taken_address_is_refused(
    browser: Client, ada: User, person: Callable[..., User], settings: Any
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"
    person("tom")
    page = browser.post("/email/", {"action_add": "", "email": "TOM@example.com"}).content.decode()
    assert "already registered" in page
    assert EmailAddress.objects.filter(user=ada).count() == 1
