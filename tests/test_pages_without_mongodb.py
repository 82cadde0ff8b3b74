"""MongoDB is killed while users have pages open: every page still answers, and says what is known and what is not."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from playwright.sync_api import BrowserContext, expect
from pymongo.database import Database

from accounts.models import User
from finance.models import Account
from sync.outbox.models import Change
from tests.pages import PAGES, PEOPLE, furnish, session
from tests.servers import Mongo

pytestmark = pytest.mark.django_db(transaction=True)

LONGEST = 10.0  # seconds for a page; each wait for MongoDB ends after half a second
# What each page says about the outage. The other pages read only MySQL.
SAYS = {
    "console": ("MongoDB unreachable", "MongoDB does not respond"),
    "record-differs": ("Unknown", "Whether the document is in sync is unknown"),
    "record-equal": ("Unknown", "Whether the document is in sync is unknown"),
    "totals": ("MongoDB does not respond. These are the last known totals",),
}
NEVER = re.compile(r"MongoDB has every committed change|>\s*(Equal|In sync)\s*<")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch, settings: Any, keys: dict[str, str]) -> None:
    settings.SYNC_INLINE_TIMEOUT = settings.SYNC_TIMEOUT = 0.5
    monkeypatch.setattr("sync.monitoring.status.TIMEOUT", 0.5)
    cache.clear()


@pytest.fixture
def keys(mongo: Database) -> dict[str, str]:
    return furnish()


def test_every_page_answers_truthfully(keys: dict[str, str], mongod: Mongo, mongo: Database) -> None:
    clients = {who: Client() for who in PEOPLE}
    for who, (username, *_) in PEOPLE.items():
        clients[who].force_login(User.objects.get(username=username))
    pages = [page for page in PAGES if not page.template and not page.press]
    before = {}
    for page in pages:
        before[page.name] = ask(clients, page, keys).status_code
    cache.clear()
    mongod.kill()
    wrong: dict[str, Any] = {}
    for page in pages:
        began = time.monotonic()
        response = ask(clients, page, keys)
        text = " ".join(response.content.decode().split()) if not response.streaming else ""
        if response.status_code != before[page.name] or response.status_code >= 500:
            wrong[page.name] = response.status_code
        elif time.monotonic() - began > LONGEST:
            wrong[page.name] = f"took {time.monotonic() - began:.0f} s"
        elif missing := [words for words in SAYS.get(page.name, ()) if words not in text]:
            wrong[page.name] = missing
        elif page.name != "help" and NEVER.search(text):
            wrong[page.name] = "claims to be in sync"
    assert wrong == {}

    part = clients["technician"].get("/sync/live/", headers={"HX-Request": "true"})
    assert part.status_code == 200
    assert "MongoDB unreachable" in part.content.decode()


def ask(clients: dict[str, Client], page: Any, keys: dict[str, str]) -> Any:
    return clients.get(page.who, Client()).get(page.path.format(**keys))


def test_a_save_during_the_outage_is_kept_and_reported(keys: dict[str, str], mongod: Mongo, mongo: Database) -> None:
    client = Client()
    client.force_login(User.objects.get(username="theo"))
    address = f"/finance/accounts/{keys['account']}/edit/"
    form = client.get(address).context["form"]
    sent = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    mongod.kill()
    response = client.post(address, sent | {"limit": "777"}, follow=True)
    assert response.status_code == 200
    assert "in MySQL. The change will be delivered to MongoDB shortly" in response.content.decode()
    assert Account.objects.get(pk=keys["account"]).limit == 777
    assert Change.objects.undelivered().filter(key=keys["account"]).exists()


@pytest.fixture
def console(context: BrowserContext, live_server: Any, keys: dict[str, str]) -> Iterator[Any]:
    context.clear_cookies()
    context.add_cookies([{"name": "sessionid", "value": session("technician"), "url": live_server.url}])
    page = context.new_page()
    page.goto(f"{live_server.url}/sync/")
    yield page
    page.close()


@pytest.mark.browser
def test_the_open_console_shows_the_outage_and_the_recovery(console: Any, mongod: Mongo) -> None:
    main = console.get_by_role("main")
    expect(main).not_to_contain_text("MongoDB unreachable")
    mongod.kill()
    expect(main).to_contain_text("MongoDB unreachable", timeout=30_000)
    expect(console.locator("#live-trouble")).to_be_hidden()  # the portal itself does answer
    mongod.start()
    expect(main).not_to_contain_text("MongoDB unreachable", timeout=60_000)
