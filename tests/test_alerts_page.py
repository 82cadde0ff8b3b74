"""The page of alerts, its test button, and the bell in the header."""

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Entry
from sync.monitoring.models import Incident, Notification

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def channel(settings) -> None:
    settings.SYNC_ALERT_EMAILS = ["ops@example.com"]


def signed_in(role: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(role, f"{role}@example.org", "secret", role=role))
    return client


def incident(**values: object) -> Incident:
    now = timezone.now()
    return Incident.objects.create(
        state="stalled", summary="No relay <b>delivers</b>.", began_at=now, opened_at=now, **values
    )


def test_the_page_lists_incidents_and_what_was_sent() -> None:
    Notification.objects.create(
        incident=incident(), event="opened", channel="mail", due_at=timezone.now(), attempts=2, error="HTTP 500"
    )
    page = signed_in("technical_worker").get("/sync/alerts/").content.decode()
    assert "Stalled" in page
    assert "failed 2 times (HTTP 500)" in page
    assert "No relay &lt;b&gt;delivers&lt;/b&gt;." in page
    assert "ops@example.com" in page


def test_an_unknown_state_in_the_database_is_shown_as_it_is() -> None:
    Incident.objects.update_or_create(pk=incident().pk, defaults={"state": "odd"})
    assert "odd" in signed_in("technical_worker").get("/sync/alerts/").content.decode()


def test_what_did_not_last_is_not_listed() -> None:
    Incident.objects.create(state="stalled", summary="Too short", began_at=timezone.now())
    assert "Too short" not in signed_in("technical_worker").get("/sync/alerts/").content.decode()


def test_the_button_sends_a_test_and_is_logged() -> None:
    client = signed_in("technical_worker")
    assert client.get("/sync/alerts/test/").status_code == 405
    page = client.post("/sync/alerts/test/", follow=True).content.decode()
    assert [message.to for message in mail.outbox] == [["ops@example.com"]]
    assert "the server accepted the test" in page
    assert Entry.objects.get().act == "test"


def test_without_a_channel_the_page_says_what_to_set(settings) -> None:
    settings.SYNC_ALERT_EMAILS = []
    client = signed_in("technical_worker")
    assert "SYNC_ALERT_EMAILS" in client.get("/sync/alerts/").content.decode()
    assert "No channel is set" in client.post("/sync/alerts/test/", follow=True).content.decode()


def test_the_bell_is_for_those_who_see_the_console_while_an_incident_is_open() -> None:
    client, customer = signed_in("technical_worker"), signed_in("customer")
    assert "icon-bell" not in client.get("/profile/").content.decode()
    found = incident()
    cache.clear()
    assert "Mirror: Stalled" in client.get("/profile/").content.decode()
    assert "icon-bell" not in customer.get("/profile/").content.decode()
    Incident.objects.filter(pk=found.pk).update(active=None)
    cache.clear()
    assert "icon-bell" not in client.get("/profile/").content.decode()
