"""Registration: every new user becomes a customer and nothing more."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


def form(**changes: str) -> dict[str, str]:
    return {
        "first_name": "Ada", "last_name": "Byron", "username": "ada", "email": "Ada@Example.com",
        "requested_role": "", "password1": PASSWORD, "password2": PASSWORD, **changes,
    }  # fmt: skip


def test_a_new_user_is_a_customer_at_once(client: Client) -> None:
    client.post("/register/", form())
    ada = User.objects.get(username="ada")
    assert (ada.role, ada.requested_role, ada.get_full_name()) == ("customer", "", "Ada Byron")
    assert ada.email == "ada@example.com"


def test_no_posted_field_grants_a_role_or_rights(client: Client) -> None:
    wanted = {"role": "senior_management", "is_staff": "1", "is_superuser": "1", "request_decision": "approved",
              "is_demo": "1", "groups": "1", "user_permissions": "1"}  # fmt: skip
    client.post("/register/", form(**wanted))
    ada = User.objects.get(username="ada")
    assert (ada.role, ada.is_staff, ada.is_superuser, ada.is_demo) == ("customer", False, False, False)
    assert (ada.requested_role, ada.request_decision) == ("", "")
    assert not ada.has_pending_request
    assert not ada.user_permissions.exists()


def test_another_role_can_only_be_requested(client: Client) -> None:
    client.post("/register/", form(requested_role="technical_worker"))
    ada = User.objects.get(username="ada")
    assert (ada.role, ada.requested_role) == ("customer", "technical_worker")
    assert ada.has_pending_request


@pytest.mark.parametrize("role", ["superuser", "customer", "Technical_Worker"])
def test_a_role_that_cannot_be_requested_is_refused(client: Client, role: str) -> None:
    response = client.post("/register/", form(requested_role=role))
    assert response.status_code == 200
    assert not User.objects.exists()


def test_the_address_must_be_verified_before_the_first_login(client: Client) -> None:
    response = client.post("/register/", form())
    assert response["Location"] == "/email/confirm/"
    assert "_auth_user_id" not in client.session
    link = next(word for word in mail.outbox[0].body.split() if "/email/confirm/" in word)
    client.post(link)
    response = client.post("/login/", {"login": "ada", "password": PASSWORD})
    assert response["Location"] == "/dashboard/"


def test_without_email_verification_the_user_is_logged_in_at_once(client: Client, settings: Any) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"
    response = client.post("/register/", form())
    assert response["Location"] == "/dashboard/"
    assert "_auth_user_id" in client.session


def test_a_known_address_gets_the_same_response_and_its_owner_an_email(client: Client, ada: User) -> None:
    known = client.post("/register/", form(username="other", email="ADA@example.com"))
    unknown = Client().post("/register/", form(username="grace", email="grace@example.com"))
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert not User.objects.filter(username="other").exists()
    assert "already has one" in mail.outbox[0].body


def test_a_mail_server_that_is_down_does_not_fail_the_registration(
    client: Client, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert client.post("/register/", form()).status_code == 302
    assert User.objects.filter(username="ada").exists()
    assert "could not be sent" in caplog.text


@pytest.mark.parametrize("password", ["short-1", "1234567890123", "password123456"[:8], "ada-byron-ada"])
def test_a_weak_password_is_refused(client: Client, password: str) -> None:
    client.post("/register/", form(username="ada-byron", password1=password, password2=password))
    assert not User.objects.exists()
