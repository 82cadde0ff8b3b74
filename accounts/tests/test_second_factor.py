"""The second factor, and that it is required for staff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    generate_totp_secret,
)
from django.test import Client
from django.urls import reverse

from accounts.models import User
from accounts.tests.conftest import PASSWORD
from accounts.tests.support import code_of

pytestmark = pytest.mark.quick


@pytest.fixture
def secret(superuser: User) -> str:
    """The superuser has an authenticator app with this secret."""
    secret = generate_totp_secret()
    TOTP.activate(superuser, secret)
    return secret


def log_in(client: Client) -> Any:
    return client.post("/login/", {"login": "root", "password": PASSWORD})


def test_a_role_that_requires_a_second_factor_reaches_nothing_without_it(
    client: Client, person: Callable[..., User], settings: Any
) -> None:
    settings.REQUIRE_MFA = ["technical_worker"]
    client.force_login(person("tess", role="technical_worker"))
    for path in ("/finance/accounts/", reverse("finance:account_export"), "/finance/customers/", "/sync/", "/profile/"):
        assert client.get(path)["Location"] == "/two-factor/", path
    client.force_login(person("mary", role="senior_management"))
    assert client.get("/finance/accounts/").status_code == 200


@pytest.mark.parametrize("path", ["/admin/", "/dashboard/", "/profile/"])
def test_staff_without_a_second_factor_are_sent_to_the_setup(
    client: Client, superuser: User, settings: Any, path: str
) -> None:
    settings.REQUIRE_MFA = ["staff", "technical_worker"]
    log_in(client)
    assert client.get(path)["Location"] == "/two-factor/"


def test_staff_can_set_up_a_second_factor_while_all_else_is_closed(
    client: Client, superuser: User, settings: Any
) -> None:
    settings.REQUIRE_MFA = ["staff", "technical_worker"]
    log_in(client)
    page = client.post("/reauthenticate/?next=/two-factor/totp/activate/", {"password": PASSWORD}, follow=True)
    assert page.status_code == 200
    client.post("/two-factor/totp/activate/", {"code": code_of(page.context["form"].secret)})
    assert Authenticator.objects.filter(user=superuser, type="totp").exists()
    assert client.get("/admin/").status_code == 200


def test_staff_with_a_second_factor_can_use_the_admin(
    client: Client, superuser: User, secret: str, settings: Any
) -> None:
    settings.REQUIRE_MFA = ["staff", "technical_worker"]
    client.force_login(superuser)
    assert client.get("/admin/").status_code == 200


def test_others_need_no_second_factor(client: Client, ada: User, settings: Any) -> None:
    settings.REQUIRE_MFA = ["staff", "technical_worker"]
    client.force_login(ada)
    assert client.get("/profile/").status_code == 200


def test_a_login_asks_for_the_code(client: Client, secret: str) -> None:
    assert log_in(client)["Location"] == "/two-factor/authenticate/"
    assert "_auth_user_id" not in client.session
    client.post("/two-factor/authenticate/", {"code": "000000"})
    assert "_auth_user_id" not in client.session
    client.post("/two-factor/authenticate/", {"code": code_of(secret)})
    assert "_auth_user_id" in client.session


def test_a_recovery_code_works_once(client: Client, superuser: User, secret: str) -> None:
    code = RecoveryCodes.activate(superuser).get_unused_codes()[0]
    for expected in (True, False):
        browser = Client()
        log_in(browser)
        browser.post("/two-factor/authenticate/", {"code": code})
        assert ("_auth_user_id" in browser.session) is expected
