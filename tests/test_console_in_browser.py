"""The console in a real browser: a technical worker fixes a poison record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from bson import ObjectId
from django.core.cache import cache
from playwright.sync_api import BrowserContext, Page, expect
from pymongo.database import Database

from accounts.models import User
from audit.models import Entry
from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.jobs import runner
from sync.monitoring.history import summarize, take
from sync.outbox.models import Change
from sync.outbox.relay import Relay

PASSWORD = "correct-horse-7"

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def refused(mongo: Database) -> Iterator[Account]:
    """An account whose limit MongoDB rejects, and its failed change."""
    account = Account.objects.create(account_id=371138, limit=9000, products=["Brokerage"])
    mongo.command("collMod", "accounts", validator={"limit": {"$gte": 0}})
    Change.objects.all().delete()
    Account.objects.filter(pk=account.pk).update(limit=-5)
    Change.objects.update(failed=True, attempts=5)
    yield account
    mongo.command("collMod", "accounts", validator={})


@pytest.fixture
def page(context: BrowserContext, live_server: Any, mongo: Database) -> Iterator[Page]:
    """A page of a technical worker. A JavaScript or console error fails the test."""
    cache.clear()
    for username, role in (("theo", "technical_worker"), ("mina", "senior_management")):
        user = User.objects.create_user(username, f"{username}@example.org", PASSWORD, role=role)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    complaints: list[str] = []
    context.clear_cookies()
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in(page, live_server, "theo")
    yield page
    page.close()
    assert complaints == []


def sign_in(page: Page, live_server: Any, username: str) -> None:
    page.context.clear_cookies()
    page.goto(f"{live_server.url}/login/")
    page.fill("[name=login]", username)
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(lambda url: "/login/" not in url)


def test_a_technical_worker_finds_fixes_and_retries_a_poison_record(
    refused: Account, page: Page, live_server: Any, mongo: Database
) -> None:
    main = page.get_by_role("main")
    page.goto(f"{live_server.url}/sync/")
    expect(main).to_contain_text("Failing")
    expect(main).to_contain_text("Document failed validation")
    main.get_by_role("link", name=refused.pk).click()

    page.wait_for_url(f"**/sync/record/finance.account/{refused.pk}/")
    expect(main.get_by_text("Different", exact=True)).to_be_visible()
    expect(main.locator(".differs")).to_contain_text("-5")
    expect(main.locator(".differs")).to_contain_text("9000")
    expect(main).to_contain_text("Document failed validation")

    main.get_by_role("link", name="Open the record").click()
    main.get_by_role("link", name="Edit", exact=True).click()
    page.fill("[name=limit]", "500")
    main.get_by_role("button", name="Save").click()
    page.wait_for_url(f"**/finance/accounts/{refused.pk}/")

    page.goto(f"{live_server.url}/sync/")
    main.get_by_role("link", name="Retry or discard 1 change").click()
    main.get_by_label(f"finance.account {refused.pk}").check()
    main.get_by_role("button", name="Retry selected").click()
    expect(main).to_contain_text("1 change will be retried now.")
    Relay().drain()

    page.goto(f"{live_server.url}/sync/")
    expect(main).to_contain_text("In sync")
    expect(main).to_contain_text("No failed changes. A change that cannot be delivered appears here")
    assert mongo.accounts.find_one({"_id": ObjectId(refused.pk)})["limit"] == 500
    assert not Change.objects.filter(failed=True).exists()
    assert {"retry", "change"} <= set(Entry.objects.values_list("act", flat=True))


def test_the_console_updates_by_itself_until_paused(page: Page, live_server: Any, mongo: Database) -> None:
    page.goto(f"{live_server.url}/sync/")
    main = page.get_by_role("main")
    expect(main).to_contain_text("No data: relays record it, and no relay was running.")
    main.get_by_role("link", name="7 days").click()
    page.wait_for_url("**/sync/?range=7d#charts")
    assert take()
    summarize()
    expect(main.get_by_role("img", name=re.compile("Pending changes. Last 7 days"))).to_be_visible(timeout=30_000)
    expect(main.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    main.get_by_text("Show as table").click()
    page.evaluate("document.querySelector('#figures').dataset.old = 'yes'")
    expect(main.locator("#figures:not([data-old])")).to_have_attribute("open", "", timeout=30_000)

    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.get_by_role("button", name="Pause updates").click()
    page.wait_for_timeout(6000)
    assert requests == []
    page.get_by_role("button", name="Pause updates").click()
    with page.expect_request("**/sync/live/?range=7d", timeout=30_000):
        pass


def test_verify_is_queued_and_its_result_is_shown(page: Page, live_server: Any, mongo: Database) -> None:
    Account.objects.create(account_id=1, limit=1)
    mongo.accounts.delete_many({})
    Change.objects.all().delete()
    page.goto(f"{live_server.url}/sync/")
    main = page.get_by_role("main")
    main.get_by_role("button", name="Verify now").first.click()
    expect(main).to_contain_text("Verify: queued, but no relay is running")
    assert runner.work()
    page.goto(f"{live_server.url}/sync/")
    expect(main).to_contain_text("1 mismatch")
    main.get_by_role("link", name="Repair…").first.click()
    main.get_by_role("button", name="Write 1 document").click()
    page.wait_for_url("**/sync/")
    assert runner.work()
    page.goto(f"{live_server.url}/sync/")
    expect(main).to_contain_text("1 repaired, 0 left")
    assert mongo.accounts.count_documents({}) == 1


class Keyboard:
    """Uses a page with the keys alone."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def reach(self, label: str) -> None:
        """Press Tab until the control with this accessible name or label has the focus."""
        script = """() => { const at = document.activeElement;
            return [at.getAttribute("aria-label") || "", ...[...(at.labels || [])].map((each) => each.innerText),
                    at.tagName === "BUTTON" || at.tagName === "A" ? at.innerText : ""].map((each) => each.trim()); }"""
        for _ in range(150):
            self.page.keyboard.press("Tab")
            if label in self.page.evaluate(script):
                assert self.page.evaluate("document.activeElement.matches(':focus-visible')"), label
                return
        raise AssertionError(f"Tab does not reach {label}")

    def press(self, label: str, key: str) -> None:
        self.reach(label)
        self.page.keyboard.press(key)

    def choose(self, label: str, start: str) -> None:
        """Choose an option of a select by how it starts."""
        self.reach(label)
        self.page.keyboard.type(start)


def failed(number: int, error: str, age: timedelta) -> Change:
    account = Account.objects.create(account_id=number, limit=1)
    recorded_at = DatabaseNow() - age
    Change.objects.filter(key=account.pk).delete()
    return Change.objects.create(
        model="finance.account", key=account.pk, failed=True, attempts=5, error=error, recorded_at=recorded_at,
        due_at=recorded_at,
    )  # fmt: skip


def test_failed_changes_are_retried_in_bulk_with_the_keyboard_alone(
    page: Page, live_server: Any, mongo: Database
) -> None:
    rejected, large = "MongoDB: Document failed validation", "the document has 17 bytes; MongoDB holds 16"
    old = [failed(number, rejected, timedelta(days=3)) for number in (1, 2, 3)]
    recent, other = failed(4, rejected, timedelta(minutes=5)), failed(5, large, timedelta(days=3))
    mongo.accounts.delete_many({})
    main, keyboard = page.get_by_role("main"), Keyboard(page)

    page.goto(f"{live_server.url}/sync/")
    keyboard.press("Retry or discard 5 changes", "Enter")
    page.wait_for_url("**/sync/changes/")
    keyboard.choose("Model", "finance.account")
    keyboard.choose("Reason", "rejected")
    keyboard.choose("Recorded", "Older than 24")
    keyboard.press("Search", "Enter")
    page.wait_for_url("**age=older*")
    expect(main.locator("tbody tr")).to_have_count(3)

    keyboard.press("Select all on this page", "Space")
    assert main.locator("tbody :checked").count() == 3
    keyboard.press(f"finance.account {old[1].key}", "Space")
    page.keyboard.press("Enter")  # submits the form by its first button
    expect(main).to_contain_text("2 changes will be retried now.")
    assert set(Change.objects.filter(failed=True)) == {old[1], recent, other}

    keyboard.press("Retry all…", "Enter")
    expect(main.get_by_role("heading", name="Retry 3 changes?")).to_be_visible()
    keyboard.press("Retry", "Enter")
    expect(main).to_contain_text("3 changes will be retried now.")
    assert set(Change.objects.filter(failed=True)) == {recent, other}
    Relay().drain()
    assert {document["account_id"] for document in mongo.accounts.find()} == {1, 2, 3}
    expect(main.locator("tbody tr")).to_have_count(3)
    page.reload()
    expect(main).to_contain_text("No failed changes match.")
