"""Each row of the rate limit policy is enforced by the real pages, for sequential and for concurrent requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from allauth.account import app_settings
from allauth.account.models import EmailAddress
from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.core.cache import caches
from django.db import connections
from django.test import Client
from django.urls import NoReverseMatch, reverse

from accounts.models import User
from accounts.tests.conftest import PASSWORD
from analytics_site.limits import POLICY, Limit, rates
from tests.servers import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

Attempt = Callable[[int], int]  # makes the attempt with this number; returns 1 if it was allowed, else 0
SPARE = 5  # attempts beyond the limit
ADDRESS = "192.0.2.1"


@pytest.fixture(autouse=True)
def _shared_cache(settings: Any, tmp_path: Path) -> Iterator[None]:
    """The production cache: files, with a lock between threads and processes."""
    settings.CACHES = {"default": {"BACKEND": "analytics_site.cache.FileCache", "LOCATION": str(tmp_path / "cache")}}
    yield
    caches["default"].clear()


def elsewhere(number: int) -> str:
    return f"198.51.{number // 250}.{number % 250 + 1}"


def is_answered(response: Any) -> int:
    return int(response.status_code != 429)


def is_compared(response: Any) -> int:
    """Whether the password or code was checked. A 429 comes from another limit whose counter was busy for too long."""
    return int(response.status_code != 429 and "Too many failed login attempts" not in response.content.decode())


def logins(ada: User) -> Attempt:
    return lambda number: is_answered(Client().post("/login/", {}, REMOTE_ADDR=ADDRESS))


def failed_logins_of_an_address(ada: User) -> Attempt:
    def attempt(number: int) -> int:
        form = {"login": f"person{number}", "password": "wrong"}
        return is_compared(Client().post("/login/", form, REMOTE_ADDR=ADDRESS))

    return attempt


def failed_logins_of_a_person(ada: User) -> Attempt:
    names = ["ada", "ada@example.com", "ADA", " Ada@Example.com"]

    def attempt(number: int) -> int:
        form = {"login": names[number % len(names)], "password": "wrong"}
        return is_compared(Client().post("/login/", form, REMOTE_ADDR=elsewhere(number)))

    return attempt


def wrong_codes_of_a_person(ada: User) -> Attempt:
    TOTP.activate(ada, generate_totp_secret())
    waiting = []  # clients that gave the password and are asked for the code
    for number in range(40):
        waiting.append(Client(REMOTE_ADDR=elsewhere(number)))
        response = waiting[-1].post("/login/", {"login": "ada", "password": PASSWORD})
        assert response["Location"] == "/two-factor/authenticate/"
    return lambda number: is_compared(waiting[number].post("/two-factor/authenticate/", {"code": "none"}))


def registrations(ada: User) -> Attempt:
    return lambda number: is_answered(Client().post("/register/", {}, REMOTE_ADDR=ADDRESS))


def resets_of_an_address(ada: User) -> Attempt:
    def attempt(number: int) -> int:
        form = {"email": f"nobody{number}@example.com"}
        return is_answered(Client().post("/password/reset/", form, REMOTE_ADDR=ADDRESS))

    return attempt


def resets_of_a_person(ada: User) -> Attempt:
    def attempt(number: int) -> int:
        form = {"email": ["ada@example.com", "Ada@Example.com"][number % 2]}
        return is_answered(Client().post("/password/reset/", form, REMOTE_ADDR=elsewhere(number)))

    return attempt


def new_passwords(ada: User) -> Attempt:
    return lambda number: is_answered(Client().post("/password/reset/key/1-none/", {}, REMOTE_ADDR=ADDRESS))


def confirming_mails(ada: User) -> Attempt:
    EmailAddress.objects.create(user=ada, email="new@example.com")
    return mails_of(signed_in(ada, "/email/", {"action_send": "", "email": "new@example.com"}))


def mails_to_an_address(ada: User) -> Attempt:
    return mails_of(resets_of_a_person(ada))


def mails_of(act: Attempt) -> Attempt:
    """Counts the emails sent since the last attempt instead of the responses."""
    lock, seen = threading.Lock(), [len(mail.outbox)]

    def attempt(number: int) -> int:
        act(number)
        with lock:
            seen.append(len(mail.outbox))
            return seen[-1] - seen[-2]

    return attempt


def signed_in(ada: User, path: str, form: dict[str, Any] | None = None) -> Attempt:
    """Posts the form, or requests the page if there is no form."""
    client = Client()
    client.force_login(ada)
    cookies = client.cookies

    def attempt(number: int) -> int:
        another = Client(REMOTE_ADDR=elsewhere(number))
        another.cookies = cookies
        return is_answered(another.post(path, form) if form else another.get(path))

    return attempt


# By limited action and scope.
ATTEMPTS: dict[tuple[str, str], Callable[[User], Attempt]] = {
    ("Logins", "ip"): logins,
    ("Logins with a passkey", "ip"): lambda ada: (
        lambda number: is_answered(Client().post("/login/passkey/", {"credential": "{}"}, REMOTE_ADDR=ADDRESS))
    ),
    ("Failed logins, wrong codes", "ip"): failed_logins_of_an_address,
    ("Failed logins", "key"): failed_logins_of_a_person,
    ("Wrong codes of the second factor", "key"): wrong_codes_of_a_person,
    ("Registrations", "ip"): registrations,
    ("Requests for a password reset", "ip"): resets_of_an_address,
    ("Requests for a password reset", "key"): resets_of_a_person,
    ("New passwords by a reset link", "ip"): new_passwords,
    ("Mails that confirm an address", "key"): confirming_mails,
    ("Mails that strangers can cause", "key"): mails_to_an_address,
    ("Password changes", "user"): lambda ada: signed_in(ada, "/password/change/", {"oldpassword": ""}),
    ("Changes of email addresses", "user"): lambda ada: signed_in(ada, "/email/", {"email": ""}),
    ("Confirmations of one's identity", "user"): lambda ada: signed_in(ada, "/reauthenticate/", {"password": ""}),
    ("Downloads of one's data", "user"): lambda ada: signed_in(ada, "/my-data/download/"),
    ("Requests to delete one's account", "user"): lambda ada: signed_in(ada, "/my-data/delete/", {"withdraw": ""}),
    ("Exports", "user"): lambda ada: signed_in(ada, "/finance/accounts/export.csv"),
}
# The test reaches the limit of this action through another action, whose own limit is lower and therefore lifted.
LIFTED = {"mail_to": "reset_password"}
EACH_ROW = pytest.mark.parametrize("limit", POLICY, ids=lambda limit: f"{limit.action}-{limit.per}-{limit.what}")


def attempt_of(limit: Limit, ada: User, settings: Any) -> Attempt:
    settings.ACCOUNT_RATE_LIMITS = rates() | {LIFTED.get(limit.action, ""): ""}
    return ATTEMPTS[limit.what, limit.per](ada)


def test_every_limit_of_the_policy_is_tested() -> None:
    assert set(ATTEMPTS) == {(limit.what, limit.per) for limit in POLICY}


@EACH_ROW
def test_sequential_requests_are_limited(limit: Limit, ada: User, settings: Any) -> None:
    attempt = attempt_of(limit, ada, settings)
    assert [attempt(number) for number in range(limit.amount + 2)] == [1] * limit.amount + [0] * 2


@EACH_ROW
def test_concurrent_requests_never_exceed_the_limit(limit: Limit, ada: User, settings: Any) -> None:
    attempt = attempt_of(limit, ada, settings)

    def in_a_thread(number: int) -> int:
        try:
            return attempt(number)
        finally:
            connections.close_all()

    at_once = 30 if limit.amount == 5 else limit.amount + SPARE
    with ThreadPoolExecutor(max_workers=min(at_once, 16)) as threads:
        through = sum(threads.map(in_a_thread, range(at_once)))
    assert through <= limit.amount
    # Requests that waited too long for the counter were refused without being counted, so a few may be left.
    through += sum(attempt(number) for number in range(at_once, at_once + limit.amount - through))
    assert through == limit.amount
    assert attempt(at_once + SPARE - 1) == 0


def test_allauth_uses_the_policy_and_its_other_limits_belong_to_no_page() -> None:
    others = set(app_settings.RATE_LIMITS) - {limit.action for limit in POLICY}
    assert others == {"change_phone", "verify_phone", "request_login_code"}
    for name in ("account_change_phone", "account_verify_phone", "account_request_login_code"):
        with pytest.raises(NoReverseMatch):
            reverse(name)
    assert set(mfa_settings.RATE_LIMITS) <= {limit.action for limit in POLICY} | others
    for limit in POLICY:
        for app in (app_settings, mfa_settings):
            assert limit.rate in app.RATE_LIMITS[limit.action].split(",")


def test_the_page_about_limits_lists_the_policy() -> None:
    words = {60: "1 minute", 180: "3 minutes", 300: "5 minutes", 3600: "1 hour"}
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| (\d+ in [^|]+) \|$", (ROOT / "docs/reference/limits.md").read_text(), re.MULTILINE
    )
    assert rows == [(limit.what, limit.who, f"{limit.amount} in {words[limit.seconds]}") for limit in POLICY]
