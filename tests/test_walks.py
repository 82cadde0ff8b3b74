"""The main tasks of each role in a real browser, from sign-in to sign-out, and use by keyboard alone."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from django.core import mail
from django.core.cache import cache
from playwright.sync_api import BrowserContext, Page, expect
from pymongo.database import Database

from accounts.models import User
from audit.models import Entry
from finance.models import Account, Customer
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.workers.models import ModelState
from tests.pages import PASSWORD, PEOPLE, furnish, session

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def keys(mongo: Database) -> dict[str, str]:
    cache.clear()  # it holds the counters of login attempts
    return furnish()


@pytest.fixture
def enter(context: BrowserContext, live_server: Any, keys: dict[str, str]) -> Iterator[Callable[..., Page]]:
    """Opens the portal as a given user. A JavaScript or console error fails the test."""
    complaints: list[str] = []
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.emulate_media(reduced_motion="reduce")  # else Bootstrap scrolls slowly, and the test does not wait for that
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def go(who: str, path: str = "/dashboard/") -> Page:
        context.clear_cookies()
        if who != "anybody":
            context.add_cookies([{"name": "sessionid", "value": session(who, confirmed=False), "url": live_server.url}])
        page.goto(live_server.url + path)
        return page

    yield go
    page.close()
    assert complaints == []


def sign_out(page: Page, who: str) -> None:
    page.get_by_role("button", name=" ".join(PEOPLE[who][1:3])).click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("main").get_by_role("link", name="Create an account")).to_be_visible()


def test_a_customer_views_their_records_on_a_phone(enter: Callable[..., Page], keys: dict[str, str]) -> None:
    page = enter("customer")
    page.set_viewport_size({"width": 390, "height": 844})
    main, menu = page.get_by_role("main"), page.get_by_role("button", name="Menu", exact=True)
    for number in Customer.objects.get(pk=keys["own_customer"]).accounts:
        expect(main).to_contain_text(str(number))
    menu.click()
    page.locator("header").get_by_role("link", name="Accounts", exact=True).click()
    main.locator("tbody a").first.click()
    page.wait_for_url(f"**/finance/accounts/{keys['own_account']}/")
    menu.click()
    page.locator("header").get_by_role("link", name="Trades", exact=True).click()
    expect(main.get_by_role("heading", level=1)).to_have_text("Trades")
    page.get_by_role("contentinfo").get_by_role("link", name="Help").click()
    expect(main).to_contain_text("What each role can do")
    page.set_viewport_size({"width": 1280, "height": 800})
    sign_out(page, "customer")


def test_a_technical_worker_fixes_a_rejected_record_then_pauses_and_resumes(
    enter: Callable[..., Page], keys: dict[str, str], mongo: Database
) -> None:
    page = enter("technician")
    main = page.get_by_role("main")
    main.get_by_role("link", name=keys["poison"]).click()
    main.get_by_role("link", name="Open the record").click()
    main.get_by_role("link", name="Edit", exact=True).click()
    page.fill("[name=limit]", "500")
    main.get_by_role("button", name="Save").click()
    page.locator("header").get_by_role("link", name="Mirror").click()
    main.get_by_role("link", name="Retry or discard 1 change").click()
    main.get_by_role("button", name="Retry all…").click()
    main.get_by_role("button", name="Retry").click()
    expect(main).to_contain_text("1 change will be retried now.")
    Relay().drain()
    assert mongo.accounts.find_one({"_id": ObjectId(keys["poison"])})["limit"] == 500
    assert not Change.objects.filter(failed=True).exists()

    page.locator("header").get_by_role("link", name="Mirror").click()
    main.get_by_role("button", name="Pause", exact=True).first.click()
    expect(main).to_contain_text("is paused.")
    assert ModelState.objects.filter(paused=True).count() == 1
    main.get_by_role("button", name="Resume", exact=True).click()
    expect(main).to_contain_text("is resumed.")
    assert not ModelState.objects.filter(paused=True).exists()
    sign_out(page, "technician")


def test_senior_management_chooses_a_range_and_downloads_the_numbers(
    enter: Callable[..., Page], tmp_path: Path
) -> None:
    page = enter("manager")
    main = page.get_by_role("main")
    main.get_by_role("link", name="All", exact=True).click()
    expect(main.locator("[aria-current=true]")).to_have_text("All")
    page.fill("[name=first]", "2020-01")
    page.fill("[name=last]", "2020-12")
    main.get_by_role("button", name="Show", exact=True).click()
    expect(main).to_contain_text("2020-01 to 2020-12")
    with page.expect_download() as waiting:
        main.get_by_role("link", name="CSV of: Value by month").click()
    waiting.value.save_as(tmp_path / "value.csv")
    with (tmp_path / "value.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    assert rows[0][0] == "Month"
    assert [row[0] for row in rows[1:]] == [f"2020-{month:02}" for month in range(1, 13)]
    page.locator("header").get_by_role("link", name="Audit").click()
    expect(main).to_contain_text("theo")
    sign_out(page, "manager")


def test_staff_approve_a_request_and_the_user_is_notified(enter: Callable[..., Page]) -> None:
    page = enter("staff")
    main = page.get_by_role("main")
    page.get_by_role("button", name="Notifications").click()
    page.get_by_role("link", name="people wait").click()
    main.get_by_role("link", name="Nora Newcomer").click()
    main.get_by_role("button", name="Approve").click()
    page.fill("[name=password]", PASSWORD)
    main.locator("button[type=submit]").first.click()
    expect(main).to_contain_text("Approved. The person was emailed.")
    nora = User.objects.get(username="nora")
    assert (nora.role, nora.request_decision) == ("technical_worker", "approved")
    assert mail.outbox[-1].to == [nora.email]
    assert Entry.objects.filter(act="approve", key=str(nora.pk)).exists()
    page = enter("newcomer")
    page.wait_for_url("**/sync/")


# --- by keyboard alone ------------------------------------------------------------------------------------------------

# The browser draws the parts of a date field, including its calendar and their focus rings.
SEEN = """() => { const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  const ring = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
  if (one === document.body || /^(date|month)$/.test(one.type)) return '';
  return ring && box.width > 0 && box.top >= 0 && box.top < innerHeight ? '' :
  one.outerHTML.slice(0, 150); }"""


def test_the_keyboard_focus_is_always_visible(enter: Callable[..., Page], keys: dict[str, str]) -> None:
    unseen = {}
    for who, path in (
        ("anybody", "/register/"),
        ("customer", "/dashboard/customer/"),
        ("technician", "/sync/"),
        ("technician", "/finance/accounts/"),
        ("technician", "/finance/customers/{customer}/edit/"),
        ("manager", "/dashboard/management/"),
        ("manager", "/audit/"),
    ):
        page = enter(who, path.format(**keys))
        for _ in range(40):
            page.keyboard.press("Tab")
            if problem := page.evaluate(SEEN):
                unseen[path] = problem
    assert unseen == {}


def test_the_menu_and_a_dialog_work_without_a_mouse(enter: Callable[..., Page], keys: dict[str, str]) -> None:
    page = enter("technician", f"/finance/accounts/{keys['account']}/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the skip link
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.wait_for_url("**/delete/")
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.wait_for_url("**/finance/accounts/")
    assert not Account.objects.filter(pk=keys["account"]).exists()
    tab_to(page, "Theo Technician")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    page.keyboard.press("Enter")
    tab_to(page, "Sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main").get_by_role("link", name="Create an account")).to_be_visible()


def tab_to(page: Page, words: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if words in page.evaluate("document.activeElement.innerText"):
            return
    raise AssertionError(f"Tab does not reach {words}")
