"""Mails: no free text of strangers, no link elsewhere, not too many to one address."""

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


def test_a_registration_mails_nothing_that_was_typed_but_the_address() -> None:
    register("victim@example.com")
    [message] = mail.outbox
    assert "/email/confirm/" in message.body
    for text in (message.subject, message.body):
        assert "evil.example" not in text
        assert "pounds" not in text


def test_an_answer_to_a_request_for_a_role_has_no_name_that_was_typed(django_capture_on_commit_callbacks: Any) -> None:
    register("victim@example.com", requested_role="technical_worker")
    mail.outbox.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert decide(User.objects.get(email="victim@example.com"), Decision.DECLINED)
    [message] = mail.outbox
    assert "pounds" not in message.body
    assert "evil.example" not in message.body


def test_a_reset_mails_no_username_that_a_stranger_may_have_chosen() -> None:
    register("victim@example.com")
    Client(HTTP_USER_AGENT=PHISHING).post("/password/reset/", {"email": "victim@example.com"})
    assert len(mail.outbox) == 2
    assert "evil.example" not in mail.outbox[-1].body


def test_a_notice_has_nothing_that_the_browser_says_of_itself(ada: User) -> None:
    browser = Client(HTTP_USER_AGENT=PHISHING)
    browser.post("/login/", {"login": "ada", "password": PASSWORD})
    browser.post("/reauthenticate/", {"password": PASSWORD})
    browser.post("/email/", {"action_add": "", "email": "second@example.com"})
    assert len(mail.outbox) == 2
    assert all("pounds" not in message.body for message in mail.outbox)


def test_one_address_gets_six_mails_an_hour_whoever_causes_them() -> None:
    for number in range(20):
        register("victim@example.com", f"user{number}", REMOTE_ADDR=f"192.0.2.{number}")
        Client().post("/password/reset/", {"email": "Victim@example.com"}, REMOTE_ADDR=f"198.51.100.{number}")
    assert len(mail.outbox) == 6
    register("somebody@example.com", "somebody", REMOTE_ADDR="192.0.2.99")
    assert len(mail.outbox) == 7


@pytest.mark.parametrize("host", ["localhost:1234", "testserver:81", "127.0.0.1:9"])
def test_links_begin_with_the_configured_origin(ada: User, settings: Any, host: str) -> None:
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


def test_a_foreign_host_is_refused_with_an_origin_too(settings: Any) -> None:
    settings.PORTAL_ORIGIN = "https://portal.example.com"
    assert Client(HTTP_HOST="evil.example").get("/").status_code == 400
