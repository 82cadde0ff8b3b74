"""Every form, sent four times at once: no page fails, and no row is created twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, connections, models
from django.test import Client

from accounts.models import Session, User
from audit.models import Entry
from finance.models import Customer, CustomerWord, Transaction
from sync.outbox.models import Change
from tests.browser_forms import FILLS, filled, forms
from tests.world import World, make

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

AT_ONCE = 4
LEAVES = ("logout", "password", "register", "login", "my-data/delete")  # these end the session or start another
# Every request may add a row to these: logs, changes to deliver, and sessions. Customers and buckets of trades are here
# because duplicates of them are valid: two people may have the same data.
LOGS = {
    Entry,
    Change,
    Session,
    Customer,
    CustomerWord,
    Transaction,
    *(model for model in apps.get_models() if model._meta.label == "admin.LogEntry"),
}


@pytest.fixture
def made(mongo: Any) -> World:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    return make()


def counts() -> dict[type[models.Model], int]:
    return {model: model._default_manager.count() for model in apps.get_models() if model not in LOGS}


def send_at_once(client: Client, address: str, data: dict[str, Any]) -> list[int]:
    barrier = threading.Barrier(AT_ONCE)

    def send(_number: int) -> int:
        browser = Client(raise_request_exception=False)
        browser.cookies.update(client.cookies)
        barrier.wait(10)
        try:
            return browser.post(address, data).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(send, range(AT_ONCE)))


@pytest.mark.parametrize("who", ["customer", "technical_worker", "superuser"])
def test_a_form_sent_several_times_at_once_acts_once(made: World, covered: dict[str, set[str]], who: str) -> None:
    client = made.clients[who]
    raced = 0
    for route, address in made.addresses().items():
        if any(word in route for word in LEAVES):
            continue
        page = client.get(address)
        if page.status_code != 200 or page.streaming or not page.headers["Content-Type"].startswith("text/html"):
            continue
        for number, form in enumerate(forms(page.content.decode())):
            if form.method != "post" or any(word in form.action for word in LEAVES):
                continue
            before = counts()
            answers = send_at_once(client, form.action or address, filled(form))
            assert all(status < 500 or status == 503 for status in answers), (who, route, number, answers)
            added = {model: count - before[model] for model, count in counts().items() if count > before[model] + 1}
            assert added == {}, (who, route, number, answers)
            covered["races"].add(f"{route} {number}")
            raced += 1
    assert raced > 3


def test_users_created_at_once_with_one_username_become_one_user(made: World) -> None:
    """Each request passes the form's check of the name. The database accepts only one."""
    address = "/admin/accounts/user/add/"
    form = max(forms(made.clients["superuser"].get(address).content.decode()), key=lambda form: len(form.controls))
    answers = send_at_once(made.clients["superuser"], address, filled(form))
    assert answers.count(302) == 1
    assert set(answers) <= {302, 409, 200}  # 200: the form saw that the name is taken
    assert User.objects.filter(username=FILLS["username"]).count() == 1
