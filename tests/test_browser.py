"""The portal's main flows in a real browser, from registration to sign-out; MongoDB is read directly."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from bson import ObjectId
from django.core import mail
from django.core.cache import cache
from django.core.management import call_command
from playwright.sync_api import BrowserContext, Page, expect
from pymongo.database import Database

from accounts.models import User
from finance.models import Account, Customer

PASSWORD = "correct-horse-7"

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(context: BrowserContext, live_server: Any, mongo: Database) -> Iterator[Page]:
    """A page on a portal with a little data. A JavaScript or console error fails the test."""
    cache.clear()  # it holds the counters of login attempts
    call_command("load_demo", customers=3, trades=60, force=True, verbosity=0)
    for username, role in (("carla", "customer"), ("theo", "technical_worker"), ("mina", "senior_management")):
        user = User.objects.create_user(username, f"{username}@example.org", PASSWORD, role=role)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    record = Customer.objects.filter(user=None)[0]
    record.user = User.objects.get(username="carla")
    record.save()
    complaints: list[str] = []
    context.clear_cookies()
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(live_server.url)
    yield page
    page.close()
    assert complaints == []


def sign_in(page: Page, username: str) -> None:
    page.get_by_role("main").get_by_role("link", name="Sign in").click()
    page.fill("[name=login]", username)
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.locator("header .dropdown-toggle", has_text=re.compile(r"\w")).last.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("main").get_by_role("link", name="Create an account")).to_be_visible()


def test_a_visitor_registers_confirms_their_address_and_signs_in(page: Page) -> None:
    page.get_by_role("main").get_by_role("link", name="Create an account").click()
    for field, value in {
        "first_name": "Ada", "last_name": "Byron", "username": "ada", "email": "ada@example.com",
        "password1": PASSWORD, "password2": PASSWORD,
    }.items():  # fmt: skip
        page.fill(f"[name={field}]", value)
    page.get_by_role("main").locator("button[type=submit]").click()
    page.wait_for_url("**/email/confirm/")
    page.goto(next(word for word in mail.outbox[0].body.split() if "/email/confirm/" in word))
    page.get_by_role("main").get_by_role("button", name="Confirm").click()
    page.fill("[name=login]", "ada@example.com")
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/dashboard/customer/")
    sign_out(page)


@pytest.mark.parametrize(
    ("username", "address"),
    [("carla", "**/dashboard/customer/"), ("theo", "**/sync/"), ("mina", "**/dashboard/management/")],
)
def test_each_role_lands_on_its_own_dashboard(page: Page, username: str, address: str) -> None:
    sign_in(page, username)
    page.wait_for_url(address)
    expect(page.locator("h1")).to_be_visible()
    sign_out(page)


def test_an_edit_by_a_technical_worker_is_in_mongodb(page: Page, live_server: Any, mongo: Database) -> None:
    account = Account.objects.order_by("pk")[0]
    document = {"_id": ObjectId(account.pk)}
    before = mongo.accounts.find_one(document)
    assert before is not None
    assert before["limit"] == account.limit != 123456

    sign_in(page, "theo")
    page.wait_for_url("**/sync/")
    page.goto(f"{live_server.url}/finance/accounts/{account.pk}/")
    page.get_by_role("link", name="Edit", exact=True).click()
    page.fill("[name=limit]", "123456")
    page.get_by_role("main").get_by_role("button", name="Save").click()
    page.wait_for_url(f"**/finance/accounts/{account.pk}/")
    expect(page.get_by_role("main")).to_contain_text("123,456")

    after = mongo.accounts.find_one(document)
    assert after is not None
    assert after["limit"] == 123456
    assert before | {"limit": 123456, "_sync": after["_sync"]} == after
    sign_out(page)


def test_a_customer_sees_their_accounts(page: Page) -> None:
    sign_in(page, "carla")
    page.wait_for_url("**/dashboard/customer/")
    numbers = Customer.objects.get(user__username="carla").accounts
    assert numbers
    for number in numbers:
        expect(page.get_by_role("main")).to_contain_text(str(number))
