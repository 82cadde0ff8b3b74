"""A stolen session cannot take over an account; the owner is notified at once and can recover the account."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from accounts.addresses import UNDOABLE, WAIT
from accounts.models import User
from accounts.tests.conftest import PASSWORD
from accounts.tests.support import register

pytestmark = [pytest.mark.quick, pytest.mark.django_db]

NEW = "eve@evil.example"
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def stolen(ada: User) -> Client:
    """Ada's session, an hour after she logged in."""
    browser = Client()
    with time_machine.travel(datetime.datetime.now(datetime.UTC) - HOUR, tick=False):
        browser.post("/login/", {"login": "ada", "password": PASSWORD})
    return browser


@pytest.fixture
def fresh(ada: User) -> Client:
    """The session of a user who has just confirmed the password."""
    browser = Client()
    browser.post("/login/", {"login": "ada", "password": PASSWORD})
    browser.post("/reauthenticate/", {"password": PASSWORD})
    return browser


def add(browser: Client, address: str = NEW) -> None:
    browser.post("/email/", {"action_add": "", "email": address})


def confirm(address: str) -> None:
    mine = [message for message in mail.outbox if message.to == [address] and "/email/confirm/" in message.body]
    Client().post(re.findall(r"http\S+/email/confirm/\S+", mine[-1].body)[0])


def undo_links(address: str) -> list[str]:
    return [
        link
        for message in mail.outbox
        if message.to == [address]
        for link in re.findall(r"http\S+/email/undo/\S+", message.body)
    ]


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("/email/", {"action_add": "", "email": NEW}),
        ("/email/", {"action_remove": "", "email": "second@example.com"}),
        ("/email/", {"action_primary": "", "email": "second@example.com"}),
        ("/two-factor/totp/activate/", {"code": "123456"}),
        ("/two-factor/recovery-codes/generate/", {}),
    ],
)
def test_a_stolen_session_changes_nothing_without_the_password(
    stolen: Client, ada: User, address: str, form: dict[str, str]
) -> None:
    EmailAddress.objects.create(user=ada, email="second@example.com", verified=True)
    answer = stolen.post(address, form)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/reauthenticate/")
    assert set(EmailAddress.objects.filter(user=ada).values_list("email", "primary")) == {
        ("ada@example.com", True),
        ("second@example.com", False),
    }


def test_a_password_change_requires_the_old_password(stolen: Client, ada: User) -> None:
    stolen.post("/password/change/", {"oldpassword": "guess", "password1": "horse-8-x-y", "password2": "horse-8-x-y"})
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_every_verified_address_is_notified_of_a_new_one(fresh: Client, ada: User) -> None:
    EmailAddress.objects.create(user=ada, email="second@example.com", verified=True)
    add(fresh)
    notified = [message for message in mail.outbox if "was added" in message.body]
    assert {message.to[0] for message in notified} == {"ada@example.com", "second@example.com"}
    assert all(NEW in message.body and "/email/undo/" in message.body for message in notified)


@pytest.mark.parametrize(
    "change",
    [
        {"action_primary": "", "email": "second@example.com"},
        {"action_remove": "", "email": "second@example.com"},
    ],
)
def test_every_verified_address_is_notified_of_other_changes(fresh: Client, ada: User, change: dict[str, str]) -> None:
    EmailAddress.objects.create(user=ada, email="second@example.com", verified=True)
    fresh.post("/email/", change)
    assert {message.to[0] for message in mail.outbox} == {"ada@example.com", "second@example.com"}


def test_every_verified_address_is_notified_of_a_new_password(fresh: Client, ada: User) -> None:
    EmailAddress.objects.create(user=ada, email="second@example.com", verified=True)
    words = {"oldpassword": PASSWORD, "password1": "another-horse-8", "password2": "another-horse-8"}
    fresh.post("/password/change/", words)
    assert {message.to[0] for message in mail.outbox} == {"ada@example.com", "second@example.com"}


def test_a_new_address_cannot_reset_the_password_for_24_hours(fresh: Client, ada: User) -> None:
    add(fresh)
    confirm(NEW)
    mail.outbox.clear()
    Client().post("/password/reset/", {"email": NEW})
    [message] = mail.outbox
    assert message.to == [NEW]
    assert "/password/reset/key/" not in message.body
    assert "Until then" in message.body
    with time_machine.travel(datetime.datetime.now(datetime.UTC) + WAIT + HOUR, tick=False):
        Client().post("/password/reset/", {"email": NEW})
    assert "/password/reset/key/" in mail.outbox[-1].body


def test_the_registered_address_can_reset_the_password_at_once(ada: User) -> None:
    Client().post("/password/reset/", {"email": "ada@example.com"})
    assert "/password/reset/key/" in mail.outbox[-1].body


def test_the_owner_can_recover_the_account(fresh: Client, ada: User) -> None:
    """This works even after the intruder made the new address primary and removed the old one."""
    add(fresh)
    confirm(NEW)
    fresh.post("/email/", {"action_primary": "", "email": NEW})
    fresh.post("/email/", {"action_remove": "", "email": "ada@example.com"})
    ada.refresh_from_db()
    assert ada.email == NEW
    owner = Client()
    link = undo_links("ada@example.com")[0]
    page = owner.get(link).content.decode()
    assert NEW in page
    assert EmailAddress.objects.filter(email=NEW).exists()  # viewing the page changes nothing
    mail.outbox.clear()
    assert owner.post(link, follow=True).status_code == 200
    assert [(each.email, each.verified, each.primary) for each in EmailAddress.objects.filter(user=ada)] == [
        ("ada@example.com", True, True)
    ]
    ada.refresh_from_db()
    assert ada.email == "ada@example.com"
    assert not ada.has_usable_password()
    assert fresh.get("/profile/").status_code == 302  # the intruder is out
    [message] = mail.outbox
    assert message.to == ["ada@example.com"]
    reset = re.findall(r"http\S+/password/reset/key/\S+", message.body)[0]
    form = owner.get(reset, follow=True).redirect_chain[-1][0]
    owner.post(form, {"password1": "another-horse-8", "password2": "another-horse-8"})
    ada.refresh_from_db()
    assert ada.check_password("another-horse-8")
    assert owner.get(link).status_code == 410  # used


def test_an_undo_also_removes_the_intruders_later_addresses(fresh: Client, ada: User) -> None:
    add(fresh)
    fresh.post("/email/", {"action_remove": "", "email": NEW})
    add(fresh, "eve2@evil.example")
    Client().post(undo_links("ada@example.com")[0])
    assert [each.email for each in EmailAddress.objects.filter(user=ada)] == ["ada@example.com"]


def test_an_intruders_address_gets_no_undo_link_for_the_owners_changes(fresh: Client, ada: User) -> None:
    add(fresh)
    confirm(NEW)
    mail.outbox.clear()
    add(fresh, "ada@new.example")
    assert undo_links(NEW) == []
    assert len(undo_links("ada@example.com")) == 1


@pytest.mark.parametrize("token", ["x", "a:b:c"])
def test_a_forged_token_undoes_nothing(ada: User, token: str) -> None:
    assert Client().post(f"/email/undo/{token}/").status_code == 410
    ada.refresh_from_db()
    assert ada.has_usable_password()


def test_an_undo_link_expires_after_seven_days(fresh: Client, ada: User) -> None:
    add(fresh)
    link = undo_links("ada@example.com")[0]
    with time_machine.travel(datetime.datetime.now(datetime.UTC) + UNDOABLE + HOUR, tick=False):
        assert Client().post(link).status_code == 410
    assert EmailAddress.objects.filter(email=NEW).exists()


def test_an_undo_leaves_an_address_that_now_belongs_to_another_user(
    fresh: Client, ada: User, person: Callable[..., User]
) -> None:
    add(fresh)
    confirm(NEW)
    link = undo_links("ada@example.com")[0]
    fresh.post("/email/", {"action_primary": "", "email": NEW})
    fresh.post("/email/", {"action_remove": "", "email": "ada@example.com"})
    other = User.objects.create_user("other", "ada@example.com", PASSWORD)
    EmailAddress.objects.create(user=other, email=other.email, verified=True, primary=True)
    mail.outbox.clear()
    assert Client().post(link).status_code == 302
    assert [each.user for each in EmailAddress.objects.filter(email="ada@example.com")] == [other]
    ada.refresh_from_db()
    assert ada.email == ""
    Client().post("/password/reset/", {"email": NEW})
    assert all("/password/reset/key/" not in message.body for message in mail.outbox)


@pytest.mark.parametrize("is_registered", [True, False])
def test_an_intruders_second_account_cannot_keep_the_address_from_its_owner(
    fresh: Client, ada: User, person: Callable[..., User], is_registered: bool
) -> None:
    """The intruder removes the address and adds it to another account without verifying it."""
    add(fresh)
    confirm(NEW)
    link = undo_links("ada@example.com")[0]
    fresh.post("/email/", {"action_primary": "", "email": NEW})
    fresh.post("/email/", {"action_remove": "", "email": "ada@example.com"})
    eve = person("eve")
    if is_registered:
        User.objects.filter(pk=eve.pk).update(email="ada@example.com")
    EmailAddress.objects.create(user=eve, email="ada@example.com")
    mail.outbox.clear()
    Client().post(link)
    Client().post("/password/reset/", {"email": NEW})
    resets = [message for message in mail.outbox if "/password/reset/key/" in message.body]
    assert [message.to for message in resets] == [["ada@example.com"]]
    [address] = EmailAddress.objects.filter(email="ada@example.com")
    assert (address.user, address.verified, address.primary) == (ada, True, True)
    ada.refresh_from_db()
    assert ada.email == "ada@example.com"


def test_an_undo_keeps_another_old_address_if_the_first_is_gone(
    fresh: Client, ada: User, person: Callable[..., User]
) -> None:
    EmailAddress.objects.create(user=ada, email="second@example.com", verified=True)
    add(fresh)
    link = undo_links("ada@example.com")[0]
    EmailAddress.objects.filter(email="ada@example.com").update(user=person("other"), primary=False)
    Client().post(link)
    ada.refresh_from_db()
    assert ada.email == "second@example.com"
    assert [(each.email, each.primary) for each in EmailAddress.objects.filter(user=ada)] == [
        ("second@example.com", True)
    ]


def test_a_flood_of_emails_does_not_block_the_owners_reset(fresh: Client, ada: User) -> None:
    add(fresh)
    for number in range(8):
        register("ada@example.com", f"user{number}", REMOTE_ADDR=f"192.0.2.{number}")
        Client().post("/password/reset/", {"email": "ada@example.com"}, REMOTE_ADDR=f"198.51.100.{number}")
    link = undo_links("ada@example.com")[0]
    mail.outbox.clear()
    Client().post(link)
    [message] = mail.outbox
    assert "/password/reset/key/" in message.body


def test_the_undo_page_is_not_cached(fresh: Client) -> None:
    add(fresh)
    answer: Any = Client().get(undo_links("ada@example.com")[0])
    assert "no-store" in answer["Cache-Control"]
