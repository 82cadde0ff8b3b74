"""The layout of every page, and the error pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.views.defaults import bad_request, server_error

from accounts.models import User
from accounts.tests.support import INLINE

pytestmark = pytest.mark.quick

OPEN = ["/", "/login/", "/register/", "/password/reset/", "/password/reset/done/", "/email/confirm/", "/inactive/"]
PERSONAL = ["/profile/", "/email/", "/password/change/", "/two-factor/", "/reauthenticate/", "/logout/", "/dashboard/"]
ADMIN = ["/admin/", "/admin/accounts/user/", "/admin/accounts/user/add/"]


@pytest.mark.parametrize("address", [*OPEN, *PERSONAL, *ADMIN])
def test_no_page_has_inline_code_that_the_policy_would_block(client: Client, superuser: User, address: str) -> None:
    if address not in OPEN:
        client.force_login(superuser)
    response = client.get(address)
    assert response.status_code == 200
    assert not INLINE.search(response.content.decode())
    policy = response["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.django_db
def test_an_unknown_address_shows_a_readable_page(client: Client) -> None:
    response = client.get("/nowhere/")
    assert response.status_code == 404
    assert "Page not found" in response.content.decode()


def test_a_forbidden_page_explains_why(client: Client, ada: User) -> None:
    client.force_login(ada)
    response = client.get("/sync/")
    assert response.status_code == 403
    assert "not for your account" in response.content.decode()


def test_the_server_error_page_needs_no_database() -> None:
    # No database mark here: the test fails if the page makes a query.
    response = server_error(RequestFactory().get("/"))
    assert response.status_code == 500
    assert b"Something went wrong on our side" in response.content


def test_the_bad_request_page_needs_no_database() -> None:
    response = bad_request(RequestFactory().get("/"), ValueError())
    assert response.status_code == 400
    assert b"could not be understood" in response.content


@pytest.mark.django_db
def test_an_expired_form_shows_a_readable_page() -> None:
    response = Client(enforce_csrf_checks=True).post("/login/", {"login": "ada", "password": "x"})
    assert response.status_code == 403
    assert "The form has expired" in response.content.decode()


def test_healthz_needs_no_database(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")


@pytest.mark.django_db
def test_too_many_attempts_show_a_readable_page(client: Client, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"signup": "1/m/ip"}
    client.post("/register/", {})
    assert "Too many attempts" in client.post("/register/", {}).content.decode()
