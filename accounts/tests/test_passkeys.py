"""Passkeys: a second factor or a login of its own, of their owner alone, whatever a browser sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect

from accounts.models import User
from accounts.tests.conftest import PASSWORD, confirm_identity
from tests.passkeys import passkey_of

pytestmark = pytest.mark.django_db

HOSTILE = ["", "null", "[]", "1", '"x"', "{}", "[[]]", '{"id": 1}', '{"id": "YQ", "rawId": "YQ", "response": []}',
           '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"userHandle": 5}}',
           '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"clientDataJSON": "e30", "userHandle": "MQ",'
           ' "authenticatorData": "AAAA", "signature": "AAAA", "attestationObject": "AAAA"}}',
           "{" * 500, '{"response": {"userHandle": "' + "A" * 5000 + '"}}']  # fmt: skip

# Sends each credential to an address, from the page; returns the statuses.
SEND = """async ([path, credentials]) => {
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  const statuses = [];
  for (const credential of credentials) {
    const body = new URLSearchParams({ credential, csrfmiddlewaretoken: token });
    statuses.push((await fetch(path, { method: "POST", body })).status);
  }
  return statuses;
}"""


@pytest.mark.parametrize("path", ["add", "login"])
@pytest.mark.parametrize("credential", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_is_sent_as_a_passkey_is_refused(client: Client, ada: User, path: str, credential: str) -> None:
    if path != "login":
        client.force_login(ada)
        confirm_identity(client)
    assert client.get(f"/two-factor/passkeys/{path}/", headers={"Accept": "application/json"}).status_code == 200
    answer = client.post(f"/two-factor/passkeys/{path}/", {"credential": credential, "name": "x"})
    assert answer.status_code in (200, 302)
    assert not Authenticator.objects.exists()
    if path == "login":
        assert answer["Location"] == "/login/"
        assert "_auth_user_id" not in client.session


def test_a_passkey_is_a_second_factor(client: Client, ada: User, settings: Any) -> None:
    settings.REQUIRE_MFA = ["customer"]
    client.force_login(ada)
    assert client.get("/profile/")["Location"] == "/two-factor/"
    confirm_identity(client)
    assert client.get("/two-factor/passkeys/add/").status_code == 200
    passkey_of(ada)
    assert client.get("/profile/").status_code == 200


def test_recovery_codes_alone_are_no_second_factor(client: Client, ada: User, settings: Any) -> None:
    settings.REQUIRE_MFA = ["customer"]
    Authenticator.objects.create(user=ada, type="recovery_codes", data={"migrated_codes": []})
    client.force_login(ada)
    assert client.get("/profile/")["Location"] == "/two-factor/"


def test_the_password_alone_does_not_sign_in_a_user_with_a_passkey(client: Client, ada: User) -> None:
    passkey_of(ada)
    client.post("/login/", {"login": "ada", "password": PASSWORD})
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("act", ["rename", "remove"])
def test_a_passkey_is_changed_by_its_owner_alone(
    client: Client, person: Callable[..., User], ada: User, act: str
) -> None:
    theirs = passkey_of(person("bert"))
    client.force_login(ada)
    confirm_identity(client)
    path = f"/two-factor/passkeys/{theirs.pk}/{act}/"
    assert (client.get(path).status_code, client.post(path, {"name": "mine"}).status_code) == (404, 404)
    theirs.refresh_from_db()
    assert theirs.data["name"] == "Laptop"


def test_a_name_has_a_longest_length(client: Client, ada: User) -> None:
    mine = passkey_of(ada)
    client.force_login(ada)
    confirm_identity(client)
    path = f"/two-factor/passkeys/{mine.pk}/rename/"
    assert client.post(path, {"name": "x" * 101}).status_code == 200
    assert client.post(path, {"name": "<b>Desk</b>"}).status_code == 302
    assert b"&lt;b&gt;Desk" in client.get("/two-factor/passkeys/").content


def test_without_javascript_there_is_no_button_that_does_nothing(client: Client) -> None:
    page = client.get("/login/").content.decode()
    assert 'class="mt-3" data-passkey hidden' in page


@pytest.fixture
def window(context: BrowserContext, live_server: Any) -> Iterator[Page]:
    """A browser with a virtual authenticator that has a fingerprint. An error in its console fails the test."""
    browser: Browser | None = context.browser
    assert browser is not None
    own = browser.new_context()
    page = own.new_page()
    devices = own.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
               "isUserVerified": True, "automaticPresenceSimulation": True}  # fmt: skip
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    own.close()
    assert errors == []


def arrives(page: Page, path: str) -> None:
    page.wait_for_url(lambda url: urlsplit(url).path == path)


def tab_to(page: Page, condition: str) -> None:
    """Presses Tab until the element with the focus is the one that is meant."""
    for _ in range(80):
        if page.evaluate(condition):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {condition}")


def press_until(page: Page, words: str) -> None:
    """Moves the focus with Tab to the element with these words, and presses Enter there."""
    tab_to(page, f"document.activeElement.innerText?.trim() === {json.dumps(words)}")
    page.keyboard.press("Enter")


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_by_keyboard_a_passkey_is_added_used_and_removed(
    window: Page, live_server: Any, ada: User, mailoutbox: Any
) -> None:
    page = window
    address = live_server.url.replace("127.0.0.1", "localhost")
    page.goto(f"{address}/login/?next=/two-factor/")
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    arrives(page, "/two-factor/")
    press_until(page, "Add a passkey")
    arrives(page, "/reauthenticate/")
    tab_to(page, "document.activeElement.name === 'password'")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    arrives(page, "/two-factor/passkeys/add/")
    press_until(page, "Add")
    arrives(page, "/two-factor/recovery-codes/")  # which come with the first factor
    stored = Authenticator.objects.get(user=ada, type="webauthn")
    assert stored.data["name"] == "Passkey 1"
    assert "private" not in json.dumps(stored.data).lower()
    assert [mail.subject for mail in mailoutbox] == ["[Analytics Portal] A passkey was added"] or len(mailoutbox) == 2

    page.context.clear_cookies()
    page.goto(f"{address}/login/?next=/profile/")
    press_until(page, "Sign in with a passkey")
    page.wait_for_url(lambda url: "/login/" not in url)
    page.goto(f"{address}/two-factor/passkeys/")
    expect(page.get_by_role("listitem").filter(has_text="Last used on")).to_have_count(1)

    press_until(page, "Remove")
    arrives(page, "/reauthenticate/")
    tab_to(page, "document.activeElement.name === 'password'")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.endswith("/remove/"))
    press_until(page, "Remove")
    arrives(page, "/two-factor/passkeys/")
    expect(page.get_by_text("You have no passkeys.")).to_be_visible()
    assert not Authenticator.objects.filter(type="webauthn").exists()


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_passkey_follows_the_password_where_it_is_only_the_second_factor(
    window: Page, live_server: Any, ada: User
) -> None:
    page = window
    address = live_server.url.replace("127.0.0.1", "localhost")
    page.goto(f"{address}/login/?next=/two-factor/passkeys/add/")
    page.fill("[name=login]", "ada")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    arrives(page, "/reauthenticate/")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    arrives(page, "/two-factor/passkeys/add/")
    page.uncheck("[name=passwordless]")
    page.click("#mfa_webauthn_add")
    arrives(page, "/two-factor/recovery-codes/")

    page.context.clear_cookies()
    page.goto(f"{address}/login/?next=/profile/")
    page.fill("[name=login]", "ada")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    arrives(page, "/two-factor/authenticate/")
    assert set(page.evaluate(SEND, ["/two-factor/authenticate/", [HOSTILE[2], HOSTILE[10]]])) == {200}
    page.reload()
    page.click("#mfa_webauthn_authenticate")
    arrives(page, "/profile/")
    page.goto(f"{address}/two-factor/passkeys/reauthenticate/")
    assert set(page.evaluate(SEND, ["/two-factor/passkeys/reauthenticate/", [HOSTILE[8], HOSTILE[10]]])) == {200}
    page.reload()
    page.click("#mfa_webauthn_reauthenticate")
    page.wait_for_url(lambda url: "reauthenticate" not in url)


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_device_without_a_passkey_is_told_so(window: Page, live_server: Any) -> None:
    window.goto(live_server.url.replace("127.0.0.1", "localhost") + "/login/")
    window.click("#passkey_login")
    expect(window.get_by_role("alert").filter(has_text="No passkey was used")).to_be_visible(timeout=70_000)
