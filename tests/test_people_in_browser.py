"""A person registers, staff link their record without a mouse, and the person sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client
from playwright.sync_api import BrowserContext, Page, expect
from pymongo.database import Database

from accounts.models import User
from finance.models import Customer
from finance.tests.people import customer
from tests.waiting import PASSWORD, requester, somebody

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FOCUSED = "() => (document.activeElement.name || document.activeElement.innerText || '').replace(/\\s+/g, ' ').trim()"


@pytest.fixture
def page(context: BrowserContext, mongo: Database) -> Iterator[Page]:
    """Any error in the browser's console fails the test."""
    cache.clear()
    errors: list[str] = []
    context.clear_cookies()
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture
def become(context: BrowserContext, live_server: Any) -> Callable[[User], None]:
    def become(user: User) -> None:
        client = Client()
        client.force_login(user)
        context.clear_cookies()
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])

    return become


def tab_to(page: Page, words: str) -> None:
    """Presses Tab until the control with this name, or with these words on it, has the focus."""
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
        if seen[-1] == words:
            return
    raise AssertionError(f"{words} never has the focus: {seen}")


def choose(page: Page, words: str, typed: str = "") -> None:
    tab_to(page, words)
    page.keyboard.type(typed)
    page.keyboard.press("Enter")


def register(page: Page, address: str) -> None:
    page.goto(f"{address}/register/")
    for field, value in {
        "first_name": "Ada", "last_name": "Byron", "username": "ada", "email": "ada@example.com",
        "password1": PASSWORD, "password2": PASSWORD,
    }.items():  # fmt: skip
        page.fill(f"[name={field}]", value)
    page.get_by_role("main").locator("button[type=submit]").click()
    page.wait_for_url("**/email/confirm/")


def test_staff_link_a_new_customer_by_keyboard_and_the_customer_sees_their_records(
    page: Page, live_server: Any, become: Callable[[User], None]
) -> None:
    root = somebody("root", role="", is_staff=True, is_superuser=True)
    nora = requester("nora", first_name="Nora", last_name="Newcomer")
    record = customer("Augusta Byron", [4711])
    main = page.get_by_role("main")
    register(page, live_server.url)
    ada = User.objects.get(username="ada")
    [message] = [message for message in mail.outbox if message.to == [root.email]]

    become(ada)
    page.goto(f"{live_server.url}/dashboard/")
    expect(main).to_contain_text("Linked to your records")
    expect(main.locator("[aria-current=step]")).to_have_count(1)
    expect(main).not_to_contain_text("4711")

    become(root)
    page.goto(next(word for word in message.body.split() if "/people/" in word))
    choose(page, "q", "byron")
    page.wait_for_url("**?q=byron")
    choose(page, "Link Augusta Byron")
    choose(page, "Yes, link this record")
    page.wait_for_url("**/reauthenticate/**")
    choose(page, "password", PASSWORD)
    page.wait_for_url(f"**/people/{ada.pk}/")
    expect(main).to_contain_text("Linked: Augusta Byron.")
    assert Customer.objects.get(pk=record.pk).user_id == ada.pk

    choose(page, "People")
    page.wait_for_url("**/people/")
    choose(page, "Nora Newcomer")
    page.wait_for_url(f"**/people/{nora.pk}/")
    choose(page, "Approve")
    expect(main).to_contain_text("Approved. The person was emailed.")
    nora.refresh_from_db()
    assert nora.role == "technical_worker"

    become(ada)
    page.goto(f"{live_server.url}/dashboard/")
    expect(main).to_contain_text("4711")
    expect(main).not_to_contain_text("Linked to your records")
