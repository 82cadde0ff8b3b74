"""In a real browser: the content security policy blocks nothing that the pages need, and the theme is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(context: BrowserContext, live_server: Any, superuser: User) -> Iterator[Page]:
    """A page logged in as the superuser. Any error in the browser's console fails the test."""
    errors: list[str] = []
    context.clear_cookies()
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{live_server.url}/login/?next=/profile/")
    page.fill("[name=login]", "root")
    page.fill("[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_url("**/profile/")
    yield page
    page.close()
    assert errors == []


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
