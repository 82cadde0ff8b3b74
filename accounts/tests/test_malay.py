"""What allauth says about a form that it refuses or accepts is Malay for a reader who chose it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD, confirm_identity

pytestmark = pytest.mark.django_db

SAID = re.compile(
    r'class="(?:[^"]*\binvalid-feedback|[^"]*\balert(?: [^"]*)?)"[^>]*>(.*?)</(?:div|p|span|li|ul)>', re.DOTALL
)


def said(answer: Any) -> list[str]:
    """The errors and messages on a page, without markup."""
    texts = (re.sub(r"<[^>]+>", " ", text) for text in SAID.findall(answer.content.decode()))
    return [text for text in (" ".join(text.split()) for text in texts) if text]


def spoken(person: Callable[..., User], act: Callable[[Client, User], Any]) -> tuple[list[str], list[str]]:
    """What the same act of two people leads to, in English and in Malay."""
    answers = []
    for name, language in (("emma", "en"), ("maya", "ms")):
        user = person(name)
        answers.append(said(act(Client(headers={"accept-language": language}), user)))
    return answers[0], answers[1]


def enter(client: Client, user: User) -> None:
    client.post("/login/", {"login": user.username, "password": PASSWORD})
    client.get("/")  # which shows the message about the login
    confirm_identity(client)


def after_entering(path: str, **data: str) -> Callable[[Client, User], Any]:
    def act(client: Client, user: User) -> Any:
        enter(client, user)
        return client.post(path, {key: value.format(name=user.username) for key, value in data.items()}, follow=True)

    return act


def by_anybody(path: str, **data: str) -> Callable[[Client, User], Any]:
    return lambda client, user: client.post(path, data, follow=True)


def sign_in_with_a_wrong_code(client: Client, user: User) -> Any:
    TOTP.activate(user, generate_totp_secret())
    client.post("/login/", {"login": user.username, "password": PASSWORD})
    return client.post("/two-factor/authenticate/", {"code": "000"})


def register_a_taken_name(client: Client, user: User) -> Any:
    names = {"first_name": "A", "last_name": "B", "username": user.username, "email": "new@example.com"}
    return client.post("/register/", names | {"password1": "1", "password2": "2"})


def make_an_unverified_address_primary(client: Client, user: User) -> Any:
    EmailAddress.objects.create(user=user, email=f"second-{user.email}")
    enter(client, user)
    return client.post("/email/", {"action_primary": "", "email": f"second-{user.email}"}, follow=True)


def open_a_confirmation(client: Client, user: User) -> Any:
    mail.outbox.clear()
    enter(client, user)
    client.post("/email/", {"action_add": "", "email": f"new-{user.email}"})
    link = next(word for message in mail.outbox for word in message.body.split() if "/email/confirm/" in word)
    return client.post(link.removeprefix("http://testserver"), follow=True)


@pytest.mark.parametrize(
    "act",
    [
        by_anybody("/login/", login="nobody", password="wrong-horse-1"),
        by_anybody("/login/"),
        by_anybody("/password/reset/", email="no address"),
        by_anybody("/password/reset/"),
        register_a_taken_name,
        by_anybody("/register/"),
        sign_in_with_a_wrong_code,
        lambda client, user: client.post("/login/", {"login": user.username, "password": PASSWORD}, follow=True),
        after_entering("/logout/"),
        after_entering("/reauthenticate/", password="wrong-horse-1"),
        after_entering("/password/change/", oldpassword="wrong-horse-1", password1="1", password2="2"),
        after_entering("/password/change/", oldpassword=PASSWORD, password1="new-horse-11", password2="new-horse-12"),
        after_entering("/password/change/", oldpassword=PASSWORD, password1="new-horse-11", password2="new-horse-11"),
        after_entering("/email/", action_add="", email="{name}@example.com"),
        after_entering("/email/", action_add="", email="new-{name}@example.com"),
        make_an_unverified_address_primary,
        after_entering("/two-factor/totp/activate/", code="000"),
        open_a_confirmation,
    ],
)  # fmt: skip
def test_what_a_form_leads_to(person: Callable[..., User], act: Callable[[Client, User], Any]) -> None:
    english, malay = spoken(person, act)
    assert english
    assert malay
    assert not set(english) & set(malay)


def test_the_message_about_a_login_is_in_the_users_language_in_any_browser(person: Callable[..., User]) -> None:
    person("maya", language="ms")
    browser = Client(headers={"accept-language": "en"})
    answer = browser.post("/login/", {"login": "maya", "password": PASSWORD}, follow=True)
    assert said(answer) == ["Berjaya log masuk sebagai maya."]
