"""In a real browser: the content security policy blocks nothing that the pages need, and the theme and the
language are remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def login(context: BrowserContext, live_server: Any) -> Iterator[Page]:
    """The login page. Any error in the browser's console fails the test."""
    errors: list[str] = []
    context.clear_cookies()
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{live_server.url}/login/?next=/profile/")
    yield page
    page.close()
    assert errors == []


@pytest.fixture
def page(login: Page, superuser: User) -> Page:
    """A page logged in as the superuser."""
    login.fill("[name=login]", "root")
    login.fill("[name=password]", PASSWORD)
    login.click("main button[type=submit]")
    login.wait_for_url("**/profile/")
    return login


def test_the_admin_works_under_the_content_security_policy(page: Page, live_server: Any) -> None:
    for path in ("/admin/", "/admin/accounts/user/", "/admin/accounts/user/add/"):
        page.goto(live_server.url + path)
    page.get_by_role("link", name="Users", exact=True).first.click()
    page.click("th a:has-text('root')")
    page.locator(".selector").nth(1).wait_for()  # the admin's own scripts create both


def test_the_chosen_theme_is_remembered(page: Page) -> None:
    html = page.locator("html")
    assert html.get_attribute("data-bs-theme") == "light"
    page.click(".theme-switch > button")
    page.click("[data-theme-choice=dark]")
    assert html.get_attribute("data-bs-theme") == "dark"
    page.reload()
    assert html.get_attribute("data-bs-theme") == "dark"
    page.click(".theme-switch > button")
    page.click("[data-theme-choice=auto]")
    assert html.get_attribute("data-bs-theme") == "light"


def test_the_menu_signs_out(page: Page, live_server: Any) -> None:
    page.click("header button:has-text('root')")
    page.click("text=Sign out")
    page.wait_for_url(f"{live_server.url}/")
    assert page.get_by_role("main").get_by_role("link", name="Create an account").is_visible()


RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize("by", ["keyboard", "pointer"])
def test_a_part_of_a_picture_is_chosen_before_its_upload(page: Page, settings: Any, tmp_path: Path, by: str) -> None:
    """Of a wide picture, red on the left and blue on the right, the right end."""
    settings.MEDIA_ROOT = tmp_path
    wide = Image.new("RGB", (400, 100), RED)
    wide.paste(BLUE, (250, 0, 400, 100))
    wide.save(tmp_path / "wide.png")
    assert page.locator(".crop").is_hidden()
    page.set_input_files("[name=picture]", tmp_path / "wide.png")
    page.locator(".crop").wait_for()
    assert (page.get_by_label("Up or down").is_disabled(), page.get_by_label("Zoom").is_enabled()) == (True, True)
    if by == "keyboard":
        page.get_by_label("Left or right").press("End")
    else:
        page.locator(".crop canvas").hover()
        page.mouse.down()
        page.mouse.move(0, 300, steps=4)
        page.mouse.up()
    page.click("main form button[type=submit]")
    page.get_by_text("Profile saved.").wait_for()
    with Image.open(User.objects.get(username="root").picture.open()) as stored:
        red, _green, blue = stored.convert("RGB").getpixel((5, stored.height // 2))  # type: ignore[misc]
    assert (red < 60, blue > 190) == (True, True)


def test_a_person_switches_to_malay_by_keyboard_before_and_after_signing_in(login: Page, ada: User) -> None:
    html = login.locator("html")
    expect(html).to_have_attribute("lang", "en")
    press_enter_on(login, "Bahasa Melayu")
    expect(html).to_have_attribute("lang", "ms")
    expect(login.locator("h1")).to_have_text("Log masuk")

    expect(login.locator("[name=login]")).to_be_focused()
    login.keyboard.type("ada")
    login.keyboard.press("Tab")
    login.keyboard.type(PASSWORD)
    login.keyboard.press("Enter")
    login.wait_for_url("**/profile/")
    expect(html).to_have_attribute("lang", "ms")

    press_enter_on(login, "English")
    expect(html).to_have_attribute("lang", "en")
    press_enter_on(login, "Bahasa Melayu")
    expect(html).to_have_attribute("lang", "ms")
    login.wait_for_url("**/profile/")
    ada.refresh_from_db()
    assert ada.language == "ms"


def press_enter_on(page: Page, words: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == words:
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"Tab does not reach {words}")
