"""Trades are edited in a real browser: with the keyboard alone, and by touch on a phone. MongoDB is read directly."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from django.test import Client
from playwright.sync_api import BrowserContext, Page, expect
from pymongo.database import Database

from accounts.models import User
from finance.models import Transaction

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DAY = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
TRADE = {"date": DAY, "amount": 2, "transaction_code": "buy", "symbol": "adbe", "price": "10.25", "total": "20.50"}
PHONE: Any = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}


@pytest.fixture
def bucket(mongo: Database) -> Transaction:
    return Transaction.objects.create(
        account_id=1, transaction_count=2, bucket_start_date=DAY, bucket_end_date=DAY,
        transactions=[TRADE, TRADE | {"symbol": "msft", "broker": "x"}],
    )  # fmt: skip


@pytest.fixture
def editor() -> dict[str, str]:
    client = Client()
    client.force_login(User.objects.create_user("theo", "theo@example.org", "secret", role="technical_worker"))
    return {"name": "sessionid", "value": client.cookies["sessionid"].value}


@pytest.fixture
def page(context: BrowserContext, editor: dict[str, str], live_server: Any, bucket: Transaction) -> Iterator[Page]:
    context.add_cookies([{**editor, "url": live_server.url}])  # type: ignore[typeddict-item]
    page = context.new_page()
    page.goto(f"{live_server.url}/finance/transactions/{bucket.pk}/edit/")
    yield page
    page.close()


def in_mongodb(mongo: Database, bucket: Transaction) -> list[dict[str, Any]]:
    document = mongo.transactions.find_one({"_id": ObjectId(bucket.pk)})
    assert document
    return document["transactions"]


def test_a_trade_is_edited_with_the_keyboard_alone(page: Page, mongo: Database, bucket: Transaction) -> None:
    page.get_by_label("Quantity").first.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("12")
    expect(page.locator("output").first).to_have_text("123.00")
    page.keyboard.press("Tab")  # the price
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Duplicate").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-row]")).to_have_count(3)
    page.keyboard.press("Tab")  # into the copy: its date has several parts
    page.get_by_role("button", name="Remove").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Row removed.")).to_be_visible()
    page.get_by_role("button", name="Undo").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-row]")).to_have_count(3)
    page.get_by_label("Symbol").first.focus()
    page.keyboard.press("Enter")  # saves, as in any form
    page.wait_for_url(f"**/transactions/{bucket.pk}/")
    edited = TRADE | {"amount": 12, "total": "123.00"}
    assert in_mongodb(mongo, bucket) == [edited, edited, TRADE | {"symbol": "msft", "broker": "x"}]
    assert Transaction.objects.get().transaction_count == 3


def test_a_trade_is_added_by_touch_on_a_phone(
    context: BrowserContext, editor: dict[str, str], live_server: Any, mongo: Database, bucket: Transaction
) -> None:
    assert context.browser
    phone = context.browser.new_context(**PHONE)
    phone.add_cookies([{**editor, "url": live_server.url}])  # type: ignore[typeddict-item]
    page = phone.new_page()
    page.goto(f"{live_server.url}/finance/transactions/{bucket.pk}/edit/")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Remove").first.tap()
    page.get_by_role("button", name="Add a trade").tap()
    row = page.locator("[data-row]").last
    row.get_by_label("Date (UTC)").fill("2020-03-04T05:06")
    row.get_by_label("Symbol").fill("AMD")
    row.get_by_label("Side").select_option("sell")
    row.get_by_label("Quantity").fill("3")
    row.get_by_label("Price").fill("x")
    page.get_by_role("button", name="Save").tap()
    expect(page.get_by_text("Enter a price such as 10.50.")).to_be_visible()
    expect(page.get_by_text("Correct the highlighted cells.")).to_be_visible()
    page.locator("[data-row]").last.get_by_label("Price").fill("0.1")
    page.get_by_role("button", name="Save").tap()
    page.wait_for_url(f"**/transactions/{bucket.pk}/")
    assert in_mongodb(mongo, bucket) == [
        TRADE | {"symbol": "msft", "broker": "x"},
        {
            "date": datetime.datetime(2020, 3, 4, 5, 6, tzinfo=datetime.UTC), "amount": 3, "transaction_code": "sell",
            "symbol": "amd", "price": "0.1", "total": "0.3",
        },
    ]  # fmt: skip
    phone.close()
