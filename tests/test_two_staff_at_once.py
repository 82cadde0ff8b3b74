"""Two members of staff who act at the same moment: one of them succeeds, and the other is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core import mail
from django.db import connections
from django.test import Client

from accounts.models import User
from audit.models import Entry
from finance.models import Customer
from finance.tests.people import customer
from tests.waiting import DECIDE, LINK, browser, requester, somebody, staff

pytestmark = pytest.mark.django_db(transaction=True)

DONE, REFUSED = "alert-success", "alert-warning alert-dismissible"


@pytest.fixture
def at_once(mongo: Any) -> Callable[..., list[str]]:
    """Sends each of two forms, (user, data), by another member of staff, at the same moment; which alert each gets."""
    clerks = [browser(staff(DECIDE, LINK, username=name)) for name in ("clerk", "other")]
    mail.outbox.clear()

    def send(*forms: tuple[User, dict[str, str]]) -> list[str]:
        barrier = threading.Barrier(len(forms))

        def post(client: Client, form: tuple[User, dict[str, str]]) -> str:
            user, data = form
            barrier.wait(10)
            try:
                page = client.post(f"/people/{user.pk}/", data, follow=True).content.decode()
            finally:
                connections.close_all()
            return next(alert for alert in (DONE, REFUSED) if alert in page)

        with ThreadPoolExecutor(len(forms)) as pool:
            return sorted(pool.map(post, clerks, forms))

    return send


def test_a_request_is_decided_once(at_once: Callable[..., list[str]]) -> None:
    tom = requester()
    assert at_once((tom, {"act": "approve"}), (tom, {"act": "decline"})) == [DONE, REFUSED]
    tom.refresh_from_db()
    assert (tom.request_decision, tom.role) in [("approved", "technical_worker"), ("declined", "customer")]
    assert Entry.objects.filter(key=str(tom.pk)).count() == len(mail.outbox) == 1


def test_a_record_is_linked_to_one_login(at_once: Callable[..., list[str]]) -> None:
    ann, bob, record = somebody("ann"), somebody("bob"), customer("Ann", [])
    link = {"act": "link", "customer": record.pk}
    assert at_once((ann, link), (bob, link)) == [DONE, REFUSED]
    assert Customer.objects.get(pk=record.pk).user_id in (ann.pk, bob.pk)
    assert Entry.objects.filter(act="link").count() == len(mail.outbox) == 1


def test_a_login_gets_one_record(at_once: Callable[..., list[str]]) -> None:
    ann, records = somebody("ann"), [customer("Ann", []), customer("Anna", [])]
    forms = [(ann, {"act": "link", "customer": record.pk}) for record in records]
    assert at_once(*forms) == [DONE, REFUSED]
    assert Customer.objects.filter(user=ann).count() == 1
    assert Entry.objects.filter(act="link").count() == len(mail.outbox) == 1
