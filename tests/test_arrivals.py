"""Staff are emailed about each registration: once, without what was typed, and never instead of the registration."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail

from accounts.models import User
from accounts.tests.support import register
from tests.servers import free_port
from tests.waiting import DECIDE, LINK, browser, requester, somebody, staff

pytestmark = pytest.mark.django_db
SUBJECT = "[Analytics Portal] A new user waits for you"


@pytest.fixture
def to_staff(django_capture_on_commit_callbacks: Any) -> Any:
    """Registers somebody; the emails that staff get."""

    def arrive(address: str = "new@example.com", username: str = "newcomer", **more: Any) -> list[Any]:
        mail.outbox.clear()
        with django_capture_on_commit_callbacks(execute=True):
            register(address, username, **more)
        return [message for message in mail.outbox if message.to != [address]]

    return arrive


def test_the_staff_who_decide_get_one_email_each(to_staff: Any) -> None:
    staff(DECIDE)
    somebody("root", role="", is_staff=True, is_superuser=True)
    staff(LINK, username="linker")
    staff(DECIDE, username="former", is_active=False)
    staff(DECIDE, username="demo", is_demo=True)
    no_staff = staff(DECIDE, username="visitor")
    User.objects.filter(pk=no_staff.pk).update(is_staff=False)
    assert sorted(message.to for message in to_staff()) == [["clerk@example.com"], ["root@example.com"]]


def test_the_email_names_the_role_and_leads_to_the_page_of_the_person(to_staff: Any) -> None:
    clerk = browser(staff(DECIDE, LINK))
    for role, words in (
        ("", "Someone registered as a customer."),
        ("senior_management", "Someone registered and requested the role Senior management."),
    ):
        [message] = to_staff(f"x{role}@example.com", f"evil.example_prize{role}", requested_role=role)
        user = User.objects.get(email=f"x{role}@example.com")
        assert message.subject == SUBJECT
        assert words in message.body
        assert f"http://testserver/people/{user.pk}/\n" in message.body
        assert "evil.example" not in message.body
        assert "pounds" not in message.body
        assert clerk.get(f"/people/{user.pk}/").status_code == 200


def test_the_email_is_in_the_language_of_the_reader(to_staff: Any) -> None:
    staff(DECIDE, language="ms")
    staff(DECIDE, username="english")
    assert {message.to[0]: message.subject for message in to_staff(HTTP_ACCEPT_LANGUAGE="ms")} == {
        "clerk@example.com": "[Analytics Portal] Pengguna baharu sedang menunggu anda", "english@example.com": SUBJECT,
    }  # fmt: skip


def test_nothing_else_than_a_registration_sends_one(to_staff: Any) -> None:
    staff(DECIDE)
    assert len(to_staff()) == 1
    assert to_staff(username="again") == []  # the address is known
    assert to_staff("other@example.com", username="newcomer") == []  # the username is taken
    browser(User.objects.get(username="newcomer")).get("/dashboard/", follow=True)
    assert [message.subject for message in mail.outbox] == []


def test_a_flood_of_registrations_does_not_flood_staff(to_staff: Any) -> None:
    """The bell still counts them all, and the limit is not the one of emails to the staff's own address."""
    clerk = staff(DECIDE, LINK)
    sent = [len(to_staff(f"bot{number}@example.com", f"bot{number}")) for number in range(8)]
    assert sent == [1] * 6 + [0] * 2
    assert "8 people wait" in browser(clerk).get("/profile/").content.decode()
    mail.outbox.clear()
    browser(clerk).post("/password/reset/", {"email": clerk.email})
    assert [message.to for message in mail.outbox] == [[clerk.email]]


def test_a_mail_server_that_is_down_stops_no_registration(to_staff: Any, settings: Any) -> None:
    staff(DECIDE)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    to_staff(requested_role="technical_worker")
    user = User.objects.get(username="newcomer")
    assert user.has_pending_request


def test_an_error_in_the_email_stops_no_registration(to_staff: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr("analytics_site.arrivals.deciders", fail)
    to_staff()
    assert User.objects.filter(username="newcomer").exists()


def test_users_whom_an_operator_creates_cause_no_email(django_capture_on_commit_callbacks: Any) -> None:
    staff(DECIDE)
    with django_capture_on_commit_callbacks(execute=True):
        requester()
    assert mail.outbox == []
