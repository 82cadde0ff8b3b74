"""The file with all of a user's data: complete, their own only, without secrets, and after the password only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD, confirm_identity
from audit.models import Entry
from finance.models import Account, Customer
from finance.tests.people import customer

pytestmark = pytest.mark.django_db
URL = "/my-data/download/"


@pytest.fixture
def user() -> User:
    user = User.objects.create_user("mei", "mei@example.org", PASSWORD, role="customer", address="9 Jalan Ampang")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


@pytest.fixture
def signed_in(user: User) -> Client:
    browser = Client(HTTP_USER_AGENT="Firefox/145 Linux", REMOTE_ADDR="192.0.2.8")
    browser.post("/login/", {"login": "mei", "password": PASSWORD})
    confirm_identity(browser)
    return browser


def data_of(browser: Client) -> Any:
    response: Any = browser.get(URL)
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    return json.loads(b"".join(response.streaming_content))


def test_it_has_what_is_stored_about_the_user_and_nothing_of_others(signed_in: Client, user: User) -> None:
    customer("Mei", [1], linked=user)
    customer("Other", [3])
    for who in (user, User.objects.create_user("eve", "eve@example.org", PASSWORD)):
        Entry.objects.create(who=who.username, who_id=str(who.pk), act="change", model="accounts.user", key=str(who.pk))
    data = data_of(signed_in)
    assert data["profile"]["username"] == "mei"
    assert data["profile"]["address"] == "9 Jalan Ampang"
    assert [(each["device"], each["address"]) for each in data["sessions"]] == [("Firefox on Linux", "192.0.2.8")]
    assert [entry["key"] for entry in data["your_acts"]] == [str(user.pk)]
    assert [record["name"] for record in data["customer"]] == ["Mei"]
    assert data["customer"][0]["tier_and_details"]["x"]["benefits"] == ["sports tickets"]
    assert [account["account_id"] for account in data["accounts"]] == [1]
    assert [(trade["account_id"], trade["symbol"], trade["price"]) for trade in data["trades"]] == [
        (1, "tsla", "3.25"), (1, "adbe", "10.5"),
    ]  # fmt: skip


def test_it_says_when_a_requested_role_was_decided(signed_in: Client, user: User) -> None:
    asked = {"requested_role": "technical_worker", "request_decision": "declined"}
    User.objects.filter(pk=user.pk).update(**asked, request_decided_at="2026-02-03T04:05:06Z")
    decided = {"decision": "declined", "decided_at": "2026-02-03T04:05:06Z"}
    assert data_of(signed_in)["role_request"] == {"requested_role": "technical_worker", **decided}


def test_it_names_a_second_factor_without_its_secret(signed_in: Client, user: User) -> None:
    secret = generate_totp_secret()
    stored = TOTP.activate(user, secret).instance.data["secret"]
    response: Any = signed_in.get(URL)
    text = b"".join(response.streaming_content).decode()
    assert [factor["type"] for factor in json.loads(text)["second_factors"]] == ["totp"]
    keys = (secret, stored, user.password, signed_in.cookies["sessionid"].value)
    assert [key for key in keys if key in text] == []


def test_staff_who_see_all_customers_get_none_of_them(signed_in: Client, user: User) -> None:
    customer("Other", [3])
    User.objects.filter(pk=user.pk).update(role="technical_worker", is_superuser=True)
    data = data_of(signed_in)
    assert (data["customer"], data["accounts"], data["trades"]) == ([], [], [])


def test_entries_show_no_other_persons_values(signed_in: Client, user: User) -> None:
    Entry.objects.create(
        who="mei", who_id=str(user.pk), act="change", model="finance.customer", key="1", text="James Hammond",
        before={"email": "james@example.com"},
    )  # fmt: skip
    assert "ammond" not in json.dumps(data_of(signed_in))
    assert "james@" not in json.dumps(data_of(signed_in))


def test_values_that_another_program_has_stored_do_not_break_the_file(signed_in: Client, user: User) -> None:
    linked = customer("Mei", [1], linked=user)
    Customer.objects.filter(pk=linked.pk).update(tier_and_details={"x": {"tier": float("nan")}}, name="M\u00e9i")
    Account.objects.filter(account_id=1).update(products={"not": "a list"})
    data = data_of(signed_in)
    assert data["customer"][0]["name"] == "M\u00e9i"
    assert data["accounts"][0]["products"] == {"not": "a list"}


def test_a_session_without_a_recent_password_is_asked_for_it(user: User) -> None:
    browser = Client()
    browser.post("/login/", {"login": "mei", "password": PASSWORD})
    assert browser.get(URL)["Location"] == "/my-data/"
    assert "/reauthenticate/?next=/my-data/" in browser.get("/my-data/").content.decode()
    answer = browser.post("/reauthenticate/?next=/my-data/", {"password": PASSWORD, "next": "/my-data/"})
    assert answer["Location"] == "/my-data/"
    assert f'href="{URL}"' in browser.get("/my-data/").content.decode()
    assert data_of(browser)["profile"]["username"] == "mei"
