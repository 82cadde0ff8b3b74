"""A passkey in a real browser, whose authenticator is virtual, used with the keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from playwright.sync_api import BrowserContext, Page, expect

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DEVICE = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


@pytest.fixture
def page(context: BrowserContext, ada: User) -> Iterator[Page]:
    """A page with a virtual authenticator. Any error in the browser's console fails the test."""
    errors: list[str] = []
    context.clear_cookies()
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    yield page
    page.close()
    assert errors == []


def press(page: Page, name: str) -> None:
    """Moves to the link or button with Tab, and presses Enter."""
    page.wait_for_load_state()
    for _number in range(60):
        page.keyboard.press("Tab")
        text = page.evaluate("document.activeElement.closest('main') ? document.activeElement.textContent.trim() : ''")
        if text == name:
            page.keyboard.press("Enter")
            return
    pytest.fail(f"Tab does not reach {name!r} on {page.url}")


def confirm_password(page: Page) -> None:
    page.wait_for_url("**/reauthenticate/?next=**")
    page.locator("[name=password]").focus()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")


def test_a_passkey_is_added_used_and_removed_with_the_keyboard(page: Page, live_server: Any) -> None:
    origin = live_server.url.replace("127.0.0.1", "localhost")  # an address cannot have passkeys
    page.goto(f"{origin}/login/?next=/two-factor/")
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{origin}/two-factor/")

    press(page, "Add a passkey")
    confirm_password(page)
    page.wait_for_url(f"{origin}/two-factor/passkeys/add/")
    page.locator("[name=name]").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("Virtual phone")
    press(page, "Add passkey")
    page.wait_for_url("**/recovery-codes/")
    assert Authenticator.objects.get(type="webauthn").data["name"] == "Virtual phone"

    page.goto(f"{origin}/logout/")
    press(page, "Sign out")
    page.wait_for_url(f"{origin}/")
    page.goto(f"{origin}/login/?next=/two-factor/passkeys/")
    press(page, "Sign in with a passkey")
    page.wait_for_url(f"{origin}/two-factor/passkeys/")
    expect(page.get_by_role("main")).to_contain_text("Virtual phone")

    press(page, "Remove")
    page.wait_for_url(f"{origin}/reauthenticate/?next=**")
    press(page, "Use a passkey")
    page.wait_for_url(f"{origin}/two-factor/passkeys/reauthenticate/?next=**")
    press(page, "Use a passkey")
    page.wait_for_url(f"{origin}/two-factor/passkeys/*/remove/")
    press(page, "Remove")
    page.wait_for_url(f"{origin}/two-factor/passkeys/")
    expect(page.get_by_role("main")).to_contain_text("You have no passkeys yet")
    assert not Authenticator.objects.exists()

    page.goto(f"{origin}/logout/")
    press(page, "Sign out")
    page.wait_for_url(f"{origin}/")
    page.goto(f"{origin}/login/")
    press(page, "Sign in with a passkey")
    expect(page.get_by_role("main")).to_contain_text("could not verify this passkey")
