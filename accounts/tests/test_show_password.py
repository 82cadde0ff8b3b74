"""In a browser: the button that shows a typed password, and hides it when the form is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(context: BrowserContext, live_server: Any) -> Iterator[Page]:
    context.clear_cookies()
    page = context.new_page()
    yield page
    page.close()


def test_the_keyboard_reaches_the_button_after_the_field_and_shows_the_password(page: Page, live_server: Any) -> None:
    page.goto(f"{live_server.url}/login/")
    field, button = page.locator("[name=password]"), page.get_by_role("button", name="Show password")
    field.fill("something")
    assert (field.get_attribute("type"), button.get_attribute("aria-pressed")) == ("password", "false")
    field.press("Tab")
    page.keyboard.press("Space")
    assert (field.get_attribute("type"), button.get_attribute("aria-pressed")) == ("text", "true")
    assert (field.input_value(), field.get_attribute("spellcheck")) == ("something", "false")
    page.keyboard.press("Space")
    assert (field.get_attribute("type"), button.get_attribute("aria-pressed")) == ("password", "false")


def test_a_shown_password_is_sent_as_a_password(page: Page, live_server: Any) -> None:
    page.goto(f"{live_server.url}/login/")
    page.fill("[name=login]", "ada")
    page.fill("[name=password]", "wrong")
    page.get_by_role("button", name="Show password").click()
    page.evaluate("""document.querySelector("main form").addEventListener("submit", (event) => {
        event.preventDefault();
        document.title = event.target.password.type;
    })""")
    page.click("main [type=submit]")
    assert page.title() == "password"


def test_the_error_of_a_password_stays_visible(page: Page, live_server: Any) -> None:
    page.goto(f"{live_server.url}/register/")
    for name, text in (("first_name", "A"), ("last_name", "B"), ("username", "ab"), ("email", "a@example.com")):
        page.fill(f"[name={name}]", text)
    page.fill("[name=password1]", "short")
    page.fill("[name=password2]", "short")
    page.click("main [type=submit]")
    assert page.get_by_role("button", name="Show password").count() == 2
    assert page.get_by_text("This password is too short").is_visible()
