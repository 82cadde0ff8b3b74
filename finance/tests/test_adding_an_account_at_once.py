"""Several users add an account with the same number at the same moment: one succeeds, the others get an error."""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.test import Client

from accounts.models import User
from finance.models import Account

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

NUMBER = 77_001


def test_concurrent_requests_create_only_one_account_per_number() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    browsers = []
    for number in range(6):
        browser = Client()
        browser.force_login(User.objects.create_user(f"tess{number}", role="technical_worker"))
        browsers.append(browser)
    barrier = threading.Barrier(len(browsers))
    answers: list[tuple[int, str]] = []

    def add(browser: Client) -> None:
        barrier.wait(10)
        answer = browser.post(
            "/finance/accounts/add/", {"account_id": NUMBER, "limit": 5000, "products": ["Brokerage"]}
        )
        answers.append((answer.status_code, answer.content.decode()))
        connection.close()

    threads = [threading.Thread(target=add, args=[browser]) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Account.objects.filter(account_id=NUMBER).count() == 1
    assert sorted(status for status, _ in answers) == [200] * (len(browsers) - 1) + [302]
    assert all("An account with this number already exists." in page for status, page in answers if status == 200)
