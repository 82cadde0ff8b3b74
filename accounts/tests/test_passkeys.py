"""Passkeys: adding, using, renaming and removing them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.core import mail
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD, confirm_identity
from accounts.tests.software_passkey import FLAG, SoftwarePasskey
from audit.models import Entry

pytestmark = pytest.mark.django_db

ADD, LIST = "/two-factor/passkeys/add/", "/two-factor/passkeys/"


class Browser(Client):
    """A client over HTTPS, which passkeys require."""

    def __init__(self, user: User | None = None) -> None:
        super().__init__()
        self.defaults["wsgi.url_scheme"] = "https"
        if user:
            self.force_login(user)
            confirm_identity(self)

    def add(self, passkey: SoftwarePasskey, name: str = "Phone", **more: Any) -> Any:
        options = self.get(ADD).context["js_data"]["creation_options"]["publicKey"]
        credential = passkey.registration(options["challenge"])
        return self.post(ADD, {"name": name, "credential": json.dumps(credential)} | more)

    def log_in(self, passkey: SoftwarePasskey, user: User, **more: Any) -> Any:
        options = self.get("/login/passkey/", headers={"Accept": "application/json"}).json()["request_options"]
        credential = passkey.assertion(options["publicKey"]["challenge"], user_pk_to_url_str(user))
        return self.post("/login/passkey/", {"credential": json.dumps(credential)} | more)

    @property
    def is_signed_in(self) -> bool:
        return "_auth_user_id" in self.session


@pytest.fixture
def passkey(ada: User) -> SoftwarePasskey:
    """Ada has this passkey."""
    passkey = SoftwarePasskey()
    assert Browser(ada).add(passkey).status_code == 302
    mail.outbox.clear()
    Entry.objects.all().delete()
    return passkey


def of(user: User) -> Authenticator:
    return Authenticator.objects.get(user=user, type="webauthn")


def acts() -> list[tuple[str, str, str, str]]:
    return list(Entry.objects.order_by("pk").values_list("who", "act", "model", "text"))


def test_a_passkey_is_added_with_recovery_codes_an_email_and_an_entry(ada: User) -> None:
    browser = Browser(ada)
    assert browser.add(SoftwarePasskey(), "My phone")["Location"] == "/two-factor/recovery-codes/"
    assert of(ada).data["name"] == "My phone"
    assert Authenticator.objects.filter(user=ada, type="recovery_codes").exists()
    assert acts() == [("ada", "create", "mfa.authenticator", "My phone")]
    assert [message.to for message in mail.outbox if "Passkey added" in message.subject] == [["ada@example.com"]]
    assert "My phone" in browser.get(LIST).content.decode()


def test_a_browser_is_asked_for_a_passkey_that_knows_its_owner(ada: User) -> None:
    options = Browser(ada).get(ADD).context["js_data"]["creation_options"]["publicKey"]
    assert options["rp"] == {"id": "testserver", "name": "Analytics Portal"}
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"


def test_a_passkey_without_a_name_gets_one(ada: User) -> None:
    Browser(ada).add(SoftwarePasskey(), "")
    assert of(ada).data["name"] == "Passkey 1"


@pytest.mark.parametrize(
    "passkey",
    [SoftwarePasskey(origin="https://evil.example"), SoftwarePasskey(host="evil.example"),
     SoftwarePasskey(flags=FLAG.USER_PRESENT)],
    ids=["another site", "for another site", "owner not verified"],
)  # fmt: skip
def test_a_passkey_that_another_site_or_an_unverified_person_made_is_not_added(
    ada: User, passkey: SoftwarePasskey
) -> None:
    answer = Browser(ada).add(passkey)
    assert answer.status_code == 200
    assert "could not verify this passkey" in answer.content.decode()
    assert not Authenticator.objects.exists()


def test_a_passkey_signs_in_alone_and_keeps_where_to_go(ada: User, passkey: SoftwarePasskey) -> None:
    browser = Browser()
    assert browser.log_in(passkey, ada, next="/profile/")["Location"] == "/profile/"
    assert browser.session["_auth_user_id"] == str(ada.pk)
    assert browser.get("/profile/").status_code == 200
    assert of(ada).last_used_at


@pytest.mark.parametrize(
    "change",
    [{"origin": "https://evil.example"}, {"host": "evil.example"}, {"flags": FLAG.USER_PRESENT},
     {"id": b"unknown"}, {"key": SoftwarePasskey().key}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_forged_passkey_signs_nobody_in(ada: User, passkey: SoftwarePasskey, change: dict[str, Any]) -> None:
    browser = Browser()
    for name, value in change.items():
        setattr(passkey, name, value)
    assert browser.log_in(passkey, ada)["Location"] == "/login/"
    assert not browser.is_signed_in
    assert "could not verify this passkey" in browser.get("/login/").content.decode()


def test_an_answer_works_once_and_only_in_the_browser_that_was_asked(ada: User, passkey: SoftwarePasskey) -> None:
    browser, thief = Browser(), Browser()
    address, asked = "/login/passkey/", {"Accept": "application/json"}
    options = browser.get(address, headers=asked).json()["request_options"]
    answer = {"credential": json.dumps(passkey.assertion(options["publicKey"]["challenge"], user_pk_to_url_str(ada)))}
    thief.get(address, headers=asked)
    thief.post(address, answer)
    assert not thief.is_signed_in
    browser.post(address, answer)
    assert browser.is_signed_in
    browser.post("/logout/")
    browser.post(address, answer)
    assert not browser.is_signed_in


def test_another_users_passkey_does_not_open_an_account(
    ada: User, passkey: SoftwarePasskey, person: Callable[..., User]
) -> None:
    browser = Browser()
    browser.log_in(passkey, person("tom"))
    assert not browser.is_signed_in


def test_a_disabled_user_cannot_sign_in_with_a_passkey(ada: User, passkey: SoftwarePasskey) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)
    browser = Browser()
    browser.log_in(passkey, ada)
    assert not browser.is_signed_in


def ask_after_the_password() -> tuple[Browser, dict[str, Any]]:
    browser = Browser()
    answer = browser.post("/login/", {"login": "ada", "password": PASSWORD})
    assert answer["Location"] == "/two-factor/authenticate/"
    page = browser.get("/two-factor/authenticate/")
    assert "Use a passkey" in page.content.decode()
    return browser, page.context["js_data"]["request_options"]["publicKey"]


def test_after_the_password_a_passkey_is_the_second_factor(ada: User, passkey: SoftwarePasskey) -> None:
    browser, options = ask_after_the_password()
    assert not browser.is_signed_in
    forged = SoftwarePasskey(id=passkey.id).assertion(options["challenge"])
    page = browser.post("/two-factor/authenticate/", {"credential": json.dumps(forged)})
    assert "could not verify this passkey" in page.content.decode()
    assert not browser.is_signed_in
    browser, options = ask_after_the_password()
    browser.post("/two-factor/authenticate/", {"credential": json.dumps(passkey.assertion(options["challenge"]))})
    assert browser.is_signed_in


def test_a_recovery_code_replaces_a_lost_passkey(ada: User, passkey: SoftwarePasskey) -> None:
    codes: Any = Authenticator.objects.get(user=ada, type="recovery_codes")
    browser, _options = ask_after_the_password()
    browser.post("/two-factor/authenticate/", {"code": codes.wrap().get_unused_codes()[0]})
    assert browser.is_signed_in


def test_a_passkey_meets_the_rule_that_requires_a_second_factor(superuser: User, settings: Any) -> None:
    settings.REQUIRE_MFA = ["staff"]
    browser = Browser(superuser)
    assert browser.get("/admin/")["Location"] == "/two-factor/"
    assert browser.get("/two-factor/").status_code == 200
    browser.add(SoftwarePasskey())
    assert browser.get("/admin/").status_code == 200


def test_changes_need_the_password_again_or_a_passkey(ada: User, passkey: SoftwarePasskey) -> None:
    browser, key = Browser(), of(ada).pk
    browser.force_login(ada)
    for path in (ADD, f"{LIST}{key}/rename/", f"{LIST}{key}/remove/"):
        assert browser.post(path, {"name": "x"})["Location"].startswith("/reauthenticate/"), path
    assert of(ada).data["name"] == "Phone"
    again = f"{LIST}reauthenticate/?next={LIST}{key}/rename/"
    options = browser.get(again).context["js_data"]["request_options"]["publicKey"]
    wrong = json.dumps(SoftwarePasskey(id=passkey.id).assertion(options["challenge"]))
    assert unquote(browser.post(again, {"credential": wrong})["Location"]) == again
    assert browser.get(f"{LIST}{key}/rename/").status_code == 302
    options = browser.get(again).context["js_data"]["request_options"]["publicKey"]
    browser.post(again, {"credential": json.dumps(passkey.assertion(options["challenge"]))})
    assert browser.get(f"{LIST}{key}/rename/").status_code == 200


def test_a_passkey_is_renamed_and_removed_by_its_owner(ada: User, passkey: SoftwarePasskey) -> None:
    browser, key = Browser(ada), of(ada).pk
    browser.post(f"{LIST}{key}/rename/", {"name": "x" * 101})
    assert of(ada).data["name"] == "Phone"
    browser.post(f"{LIST}{key}/rename/", {"name": "Laptop"})
    assert of(ada).data["name"] == "Laptop"
    assert "Laptop" in browser.get(f"{LIST}{key}/remove/").content.decode()
    browser.post(f"{LIST}{key}/remove/")
    assert not Authenticator.objects.exists()
    assert acts() == [("ada", "delete", "mfa.authenticator", "Laptop")]
    assert [message.to for message in mail.outbox if "Passkey removed" in message.subject] == [["ada@example.com"]]
    other = Browser()
    other.log_in(passkey, ada)
    assert not other.is_signed_in


def test_nobody_else_can_rename_or_remove_a_passkey(
    ada: User, passkey: SoftwarePasskey, person: Callable[..., User]
) -> None:
    browser, key = Browser(person("tom")), of(ada).pk
    for act in ("rename", "remove"):
        assert browser.post(f"{LIST}{key}/{act}/", {"name": "Mine"}).status_code == 404
    assert of(ada).data["name"] == "Phone"
    assert "Phone" not in browser.get(LIST).content.decode()


MALFORMED = [
    "",
    "{",
    "null",
    "[]",
    "1",
    '"x"',
    "{}",
    '{"id": 1, "rawId": [], "type": {}, "response": []}',
    "[" * 100_000,
]


@pytest.mark.parametrize("credential", MALFORMED, ids=lambda text: text[:20])
def test_a_malformed_credential_is_an_error_of_the_form(ada: User, passkey: SoftwarePasskey, credential: str) -> None:
    form = {"name": "x", "credential": credential}
    browser = Browser(ada)
    browser.get(ADD)
    assert browser.post(ADD, form).status_code == 200
    browser.get(f"{LIST}reauthenticate/")
    assert browser.post(f"{LIST}reauthenticate/", form).status_code == 302
    stranger, _options = ask_after_the_password()
    assert stranger.post("/two-factor/authenticate/", form).status_code == 200
    stranger = Browser()
    stranger.get("/login/passkey/", headers={"Accept": "application/json"})
    assert stranger.post("/login/passkey/", form)["Location"] == "/login/"
    assert not stranger.is_signed_in


def test_a_damaged_part_of_a_credential_is_an_error_of_the_form(ada: User, passkey: SoftwarePasskey) -> None:
    """Each part of an answer is replaced by something else, one at a time."""
    for part in ("clientDataJSON", "authenticatorData", "signature", "userHandle"):
        for damage in ("", "AAAA", "é", None, 7, "oA"):
            browser = Browser()
            options = browser.get("/login/passkey/", headers={"Accept": "application/json"}).json()["request_options"]
            answer = passkey.assertion(options["publicKey"]["challenge"], user_pk_to_url_str(ada))
            answer["response"][part] = damage
            cache.clear()  # the limit of such logins
            browser.post("/login/passkey/", {"credential": json.dumps(answer)})
            assert not browser.is_signed_in, (part, damage)


def test_the_password_form_works_without_the_script(client: Client) -> None:
    """The passkey's form is hidden until the script shows it."""
    page = client.get("/login/").content.decode()
    assert 'data-passkey="get" hidden' in page
    assert page.index("Sign in with a passkey") > page.index('name="password"')
