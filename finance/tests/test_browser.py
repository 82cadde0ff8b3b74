"""The financial pages in a real browser: charts, forms and keyboard use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from playwright.sync_api import BrowserContext, Page, expect

from finance.models import Account, Customer, Transaction
from finance.tests.people import customer, user

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MODELS = {"account": Account, "customer": Customer, "transaction": Transaction}


@pytest.fixture
def visit(context: BrowserContext, live_server: Any, mongo: Any) -> Iterator[Callable[..., Page]]:
    """Opens a page as one kind of user. Any error in the browser's console fails the test."""
    errors: list[str] = []
    people = {kind: user(kind) for kind in ("customer", "manager", "technician")}
    customer("Anna", [4711, 4712], linked=people["customer"])
    call_command("refresh_totals")
    context.clear_cookies()
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))

    def go(kind: str, name: str) -> Page:
        client = Client()
        client.force_login(people[kind])
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        record = name.endswith(("_detail", "_edit", "_delete"))
        key = [MODELS[name.partition("_")[0]].objects.order_by("pk")[0].pk] if record else []
        page.goto(f"{live_server.url}{reverse(f'finance:{name}', args=key)}", wait_until="networkidle")
        return page

    yield go
    page.close()
    assert errors == []


def violations(page: Page) -> list[Any]:
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found]


@pytest.mark.parametrize(("kind", "name"), [("customer", "customer_dashboard"), ("manager", "totals_dashboard")])
def test_charts_use_the_colours_of_the_theme(visit: Callable[..., Page], kind: str, name: str) -> None:
    page = visit(kind, name)

    colours = (
        "(colour) => { const charts = [...document.querySelectorAll('canvas')].map((each) => Chart.getChart(each)); "
        "return charts.length && charts.every((chart) => chart.data.datasets[0].backgroundColor.includes(colour)); }"
    )
    page.wait_for_function(colours, arg="#0f766e")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(colours, arg="#2dd4bf")


def test_an_account_can_be_edited_with_the_keyboard_alone(visit: Callable[..., Page]) -> None:
    page = visit("technician", "account_edit")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-link"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "limit"
    page.keyboard.press("Control+A")
    page.keyboard.type("1234")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: not address.endswith("/edit/"))
    expect(page.get_by_role("main")).to_contain_text("1,234")


def test_an_error_is_shown_at_its_field(visit: Callable[..., Page]) -> None:
    page = visit("technician", "account_create")
    page.fill("[name=limit]", "-1")
    page.get_by_role("button", name="Save").click()
    field = page.locator("[name=limit]")
    assert field.get_attribute("aria-invalid") == "true"
    described = str(field.get_attribute("aria-describedby")).split()[-1]
    expect(page.locator(f"[id='{described}']")).to_contain_text("greater than or equal to 0")
    assert violations(page) == []
