"""Emails contain no text that strangers typed and no foreign links, and no address gets too many."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts.models import Decision, User
from accounts.role_requests import decide
from accounts.tests.conftest import PASSWORD
from accounts.tests.support import PHISHING, register

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


def test_a_registration_email_contains_nothing_that_was_typed() -> None:
    register("victim@example.com")
    [message] = mail.outbox
    assert "/email/confirm/" in message.body
    for text in (message.subject, message.body):
        assert "evil.example" not in text
        assert "pounds" not in text


def test_the_decision_on_a_role_request_contains_no_typed_name(django_capture_on_commit_callbacks: Any) -> None:
    register("victim@example.com", requested_role="technical_worker")
    mail.outbox.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert decide(User.objects.get(email="victim@example.com"), Decision.DECLINED)
    [message] = mail.outbox
    assert "pounds" not in message.body
    assert "evil.example" not in message.body


def test_a_reset_email_contains_no_username_that_a_stranger_may_have_chosen() -> None:
    register("victim@example.com")
    Client(HTTP_USER_AGENT=PHISHING).post("/password/reset/", {"email": "victim@example.com"})
    assert len(mail.outbox) == 2
    assert "evil.example" not in mail.outbox[-1].body


def test_a_notification_does_not_contain_the_user_agent(ada: User) -> None:
    browser = Client(HTTP_USER_AGENT=PHISHING)
    browser.post("/login/", {"login": "ada", "password": PASSWORD})
    browser.post("/reauthenticate/", {"password": PASSWORD})
    browser.post("/email/", {"action_add": "", "email": "second@example.com"})
    assert len(mail.outbox) == 2
    assert all("pounds" not in message.body for message in mail.outbox)


def test_an_address_gets_at_most_six_emails_per_hour_regardless_of_sender() -> None:
    for number in range(20):
        register("victim@example.com", f"user{number}", REMOTE_ADDR=f"192.0.2.{number}")
        Client().post("/password/reset/", {"email": "Victim@example.com"}, REMOTE_ADDR=f"198.51.100.{number}")
    assert len(mail.outbox) == 6
    register("somebody@example.com", "somebody", REMOTE_ADDR="192.0.2.99")
    assert len(mail.outbox) == 7


@pytest.mark.parametrize("host", ["localhost:1234", "testserver:81", "127.0.0.1:9"])
def test_links_start_with_the_configured_origin(ada: User, settings: Any, host: str) -> None:
    settings.PORTAL_ORIGIN = "https://portal.example.com"
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "portal.example.com"]
    settings.ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https"
    headers = {"HTTP_HOST": host, "HTTP_X_FORWARDED_HOST": "evil.example"}
    Client(**headers).post("/password/reset/", {"email": "ada@example.com"})
    register("victim@example.com", **headers)
    assert len(mail.outbox) == 2
    for message in mail.outbox:
        assert host not in message.body
        assert "evil.example" not in message.body
        assert "https://portal.example.com/" in message.body


def test_a_foreign_host_is_refused_even_with_a_configured_origin(settings: Any) -> None:
    settings.PORTAL_ORIGIN = "https://portal.example.com"
    assert Client(HTTP_HOST="evil.example").get("/").status_code == 400
