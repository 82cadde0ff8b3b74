"""From a bar of the management dashboard to its trades and back, in a real browser: by keyboard, and by touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, BrowserContext, Page, expect

from finance.tests.people import DAY, customer, user

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DASHBOARD = reverse("finance:totals_dashboard")
WIDE: Any = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
PHONE: Any = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
MIDDLE_OF_BAR = """(place) => {
  const chart = Chart.getChart(document.querySelector("[data-chart=chart-value]"));
  const bar = chart.getDatasetMeta(0).data[place].getCenterPoint();
  const box = chart.canvas.getBoundingClientRect();
  return [box.left + bar.x, box.top + bar.y];
}"""


@pytest.fixture
def address(context: BrowserContext, live_server: Any, mongo: Any) -> str:
    customer("Anna", [1, 2])
    call_command("refresh_totals")
    return f"{live_server.url}{DASHBOARD}?first={DAY:%Y-%m}&last={DAY:%Y-%m}"


@pytest.fixture
def opened(context: BrowserContext, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The dashboard. An error in the browser's console fails the test."""
    client = Client()
    client.force_login(user("manager"))
    browser: Browser | None = context.browser
    assert browser is not None
    window = browser.new_context(**request.param)
    window.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": address}])
    page = window.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, wait_until="networkidle")
    yield page
    window.close()
    assert errors == []


def press_until(page: Page, key: str, found: str) -> None:
    """Presses a key until an element that matches has the focus."""
    for _ in range(120):
        page.keyboard.press(key)
        if page.evaluate("(found) => document.activeElement.matches(found)", found):
            return
    raise AssertionError(f"{key} never reaches {found}")


def shows_its_trades(page: Page, *, trades: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Trades behind the totals")
    expect(page.locator(".sums dd").first).to_have_text(trades)
    expect(page.locator("tbody tr")).to_have_count(int(trades))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("opened", [WIDE], indirect=True, ids=["wide"])
def test_by_keyboard(opened: Page, address: str) -> None:
    page = opened
    press_until(page, "Tab", "[aria-labelledby=title-value] summary")
    page.keyboard.press("Enter")
    press_until(page, "Tab", "[aria-labelledby=title-value] tbody a")
    page.keyboard.press("Enter")
    shows_its_trades(page, trades="4")
    press_until(page, "Tab", f"main a[href^='{DASHBOARD}?']")
    page.keyboard.press("Enter")
    page.wait_for_url(address)


@pytest.mark.parametrize("opened", [PHONE, WIDE], indirect=True, ids=["touch", "mouse"])
def test_on_the_bar(opened: Page, address: str, request: pytest.FixtureRequest) -> None:
    page = opened
    page.locator("[data-chart=chart-value]").scroll_into_view_if_needed()
    x, y = page.evaluate(MIDDLE_OF_BAR, 0)
    if "touch" in request.node.callspec.id:
        page.touchscreen.tap(x, y)
    else:
        page.mouse.click(x, y)
    page.wait_for_url(lambda url: "side=buy" in url)
    shows_its_trades(page, trades="4")
    page.go_back()
    page.wait_for_url(address)
    expect(page.get_by_role("heading", level=1)).to_have_text("Totals")


@pytest.mark.parametrize("opened", [WIDE], indirect=True, ids=["wide"])
def test_on_paper_it_is_light_and_has_no_controls(opened: Page) -> None:
    page = opened
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "light"
    colours = page.evaluate(
        "Chart.getChart(document.querySelector('[data-chart=chart-value]')).data.datasets[0].backgroundColor"
    )
    assert set(colours) == {"#0f766e"}
    for hidden in ("header nav", "footer", ".filter-form", "[data-print]"):
        expect(page.locator(hidden).first).to_be_hidden()
    expect(page.get_by_text("Value traded").first).to_be_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    assert page.pdf().startswith(b"%PDF")
