"""When a session ends: on a timeout, on logout, on a password change and when the user is disabled."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core import mail
from django.test import Client
from time_machine import TimeMachineFixture

from accounts.models import Session, User
from accounts.tests.conftest import PASSWORD, confirm_identity

pytestmark = pytest.mark.django_db

HOUR = 3600
NEW = {"password1": "another-horse-8", "password2": "another-horse-8"}


@pytest.fixture
def later(time_machine: TimeMachineFixture) -> Callable[[float], None]:
    """Moves the clock forward by this many seconds."""
    time_machine.move_to(datetime.datetime.now(datetime.UTC))
    return time_machine.shift


def log_in(**data: str) -> Client:
    browser = Client()
    browser.post("/login/", {"login": "ada", "password": PASSWORD, **data})
    assert is_open(browser)
    return browser


def is_open(browser: Client) -> bool:
    return browser.get("/profile/").status_code == 200


# --- timeouts -------------------------------------------------------------------------------------------------------


def test_a_session_ends_after_two_idle_hours(ada: User, later: Callable[[float], None]) -> None:
    browser = log_in()
    later(2 * HOUR - 60)
    assert is_open(browser)
    later(2 * HOUR + 1)
    answer = browser.get("/profile/")
    assert answer["Location"] == "/login/?next=/profile/"
    assert "You were signed out" in browser.get(answer["Location"]).content.decode()
    assert not Session.objects.exists()


def test_a_session_ends_after_twelve_hours_despite_activity(ada: User, later: Callable[[float], None]) -> None:
    browser = log_in(remember="on")
    for _ in range(11):
        later(HOUR)
        assert is_open(browser)
    later(HOUR + 1)
    assert not is_open(browser)
    assert not Session.objects.exists()


def test_a_password_change_does_not_restart_the_twelve_hours(ada: User, later: Callable[[float], None]) -> None:
    browser = log_in()
    for _ in range(11):
        later(HOUR)
        assert is_open(browser)
    browser.post("/password/change/", {"oldpassword": PASSWORD, **NEW})
    assert is_open(browser)
    later(HOUR + 1)
    assert not is_open(browser)


def test_a_page_that_refreshes_itself_does_not_keep_the_session_alive(
    ada: User, mongo: Any, later: Callable[[float], None]
) -> None:
    User.objects.update(role="technical_worker")
    browser = log_in()
    answer: Any = None
    for _ in range(13):  # the console in an abandoned browser
        answer = browser.get("/sync/live/", headers={"HX-Request": "true"})
        assert answer.status_code == 200
        later(10 * 60)
    answer = browser.get("/sync/live/", headers={"HX-Request": "true"})
    assert (answer.headers.get("HX-Refresh"), answer.content) == ("true", b"")
    assert not is_open(browser)


def test_a_visit_to_the_same_address_keeps_the_session_alive(
    ada: User, mongo: Any, later: Callable[[float], None]
) -> None:
    User.objects.update(role="technical_worker")
    browser = log_in()
    for path in ("/sync/live/", "/sync/", "/profile/"):
        later(HOUR + 1800)
        assert browser.get(path).status_code == 200


def test_a_session_without_times_has_ended(ada: User) -> None:
    """Sessions from before the limits existed have no times."""
    browser = log_in()
    session = browser.session
    del session["began"], session["seen"]
    session.save()
    assert not is_open(browser)


def test_activity_is_recorded_once_per_minute(ada: User, later: Callable[[float], None]) -> None:
    """Otherwise every request would write the session."""
    browser = log_in()
    begun = Session.objects.get().session_data
    assert is_open(browser)
    assert Session.objects.get().session_data == begun
    later(61)
    assert is_open(browser)
    assert Session.objects.get().session_data != begun


# --- actions that end a session -------------------------------------------------------------------------------------


def test_the_session_key_changes_at_login(ada: User) -> None:
    """A session key that a user was tricked into using (session fixation) is useless after the login."""
    browser = Client()
    session = browser.session
    session["planted"] = "1"
    session.save()
    browser.cookies["sessionid"] = planted = session.session_key or ""
    browser.post("/login/", {"login": "ada", "password": PASSWORD})
    assert browser.session.session_key != planted
    assert is_open(browser)
    other = Client()
    other.cookies["sessionid"] = planted
    assert not is_open(other)
    assert not Session.objects.filter(session_key=planted).exists()


def test_logout_deletes_the_session(ada: User) -> None:
    browser = log_in()
    stolen = Client()
    stolen.cookies["sessionid"] = browser.cookies["sessionid"].value
    assert is_open(stolen)
    browser.post("/logout/")
    assert not Session.objects.exists()
    assert not is_open(stolen)


def test_a_password_change_ends_all_other_sessions(ada: User) -> None:
    browser, other = log_in(), log_in()
    browser.post("/password/change/", {"oldpassword": PASSWORD, **NEW})
    assert is_open(browser)
    assert not is_open(other)


def test_a_password_reset_ends_all_sessions(ada: User) -> None:
    thief, owner = log_in(), Client()
    owner.post("/password/reset/", {"email": "ada@example.com"})
    link = next(word for word in mail.outbox[0].body.split() if "/password/reset/key/" in word)
    owner.post(owner.get(link, follow=True).request["PATH_INFO"], NEW)
    assert not is_open(thief)


def test_a_password_set_by_an_administrator_ends_all_sessions(ada: User, superuser: User) -> None:
    browser, admin = log_in(), Client()
    admin.force_login(superuser)
    confirm_identity(admin)
    answer = admin.post(f"/admin/accounts/user/{ada.pk}/password/", {**NEW, "usable_password": "true"})
    assert answer.status_code == 302
    assert not is_open(browser)


def test_disabling_a_user_ends_the_session(ada: User, superuser: User) -> None:
    browser, admin = log_in(), Client()
    admin.force_login(superuser)
    confirm_identity(admin)
    form = {"username": "ada", "email": "ada@example.com", "role": "customer"}  # without is_active
    assert admin.post(f"/admin/accounts/user/{ada.pk}/change/", form).status_code == 302
    assert not is_open(browser)


def test_removing_a_role_takes_effect_at_once(ada: User) -> None:
    browser = log_in()
    assert browser.get("/dashboard/customer/").status_code == 200
    User.objects.update(role="")
    assert browser.get("/dashboard/customer/").status_code == 403


# --- the cookie -----------------------------------------------------------------------------------------------------


def test_the_cookie_is_hidden_from_scripts_and_other_sites(ada: User, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True  # as with HTTPS
    cookie = log_in(remember="on").cookies["sessionid"]
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Lax")
    assert cookie["max-age"] == project_settings.SESSION_LONGEST
    assert Client().post("/login/", {"login": "ada", "password": PASSWORD}).cookies["sessionid"]["max-age"] == ""
