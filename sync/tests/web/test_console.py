"""The console page: for those who may see it, and true also while MongoDB is away."""

import os
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pymongo.database import Database

from audit.models import Entry
from sync.core.clock import DatabaseNow
from sync.outbox.models import Change
from sync.tests.support.factories import leave_pending, make
from sync.tests.support.people import OPERATOR, user
from sync.verification.models import Mismatch, Verification
from sync.web.console import COUNTS
from sync.workers.heartbeat import PULLER, SILENCE, WorkerHeartbeat
from sync.workers.models import Checkpoint, ModelState, Worker
from tests.servers import Mongo

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_counted(fresh_heart: None) -> None:
    cache.delete(COUNTS)


@pytest.fixture
def technician(client: Client) -> Client:
    user = get_user_model().objects.create_user("tech", "tech@example.com", "x")
    user.user_permissions.add(Permission.objects.get(codename="view_console"))
    client.force_login(user)
    return client


def text(client: Client) -> str:
    """The page's words, with one space between."""
    return " ".join(client.get("/sync/").content.decode().split())


def test_it_shows_what_has_failed_and_why(technician: Client, mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = False
    make(1).save()
    Change.objects.update(failed=True, error="MongoDB: <b>no</b>")
    page = text(technician)
    assert "Failing" in page
    assert "MongoDB: &lt;b&gt;no&lt;/b&gt;" in page
    assert "finance.account, rejected by MongoDB:</span> 1 failed, 0 tried again" in page


def test_it_shows_lag_and_who_delivers(technician: Client, mongo: Database) -> None:
    assert "nothing was delivered in the last minutes" in text(technician)
    relay = WorkerHeartbeat("default")
    relay.count(2, [0.004, 40.0])
    relay.note = "MongoDB does not answer: <i>"
    relay.write()
    page = text(technician)
    assert "median; 95 % within 50 s, 99 % within 50 s" in page
    assert "MongoDB does not answer: &lt;i&gt;" in page
    assert "dead" not in page
    Worker.objects.update(heartbeat_at=DatabaseNow() - timedelta(seconds=SILENCE["relay"] + 1))
    page = text(technician)
    assert "dead" in page
    assert "Start one: manage.py sync relay" in page


def test_it_says_what_to_run_when_no_relay_takes_what_is_pending(technician: Client, mongo: Database) -> None:
    leave_pending(30)
    page = text(technician)
    assert "Stalled" in page
    assert "Changes are pending and no relay delivers them. Start one: manage.py sync relay" in page


def test_it_says_that_the_last_moments_changes_are_on_their_way(technician: Client, mongo: Database) -> None:
    assert "Everything committed in MySQL is in MongoDB." in text(technician)
    leave_pending(0)
    assert "In sync. 1 change in flight." in text(technician)


def test_it_shows_pauses_backfills_and_verifications(technician: Client, mongo: Database) -> None:
    assert "never" in text(technician)
    leave_pending(1, until="f" * 24)
    moment = Change.objects.get().due_at
    ModelState.objects.update_or_create(model="finance.account", defaults={"paused": True})
    Verification.objects.create(model="finance.account", mode="sampled", finished_at=moment)
    Mismatch.objects.create(model="finance.account", key="a", kind="missing", last_seen=moment)
    page = text(technician)
    for words in ("Paused", "Backfill: 1 range left", "(a sample)", "Differing"):
        assert words in page


def test_it_shows_each_route_with_its_worker_lag_and_pause(technician: Client, mongo: Database) -> None:
    assert "Routes" not in text(technician), "there are none"
    puller = WorkerHeartbeat("default", kind=PULLER)
    puller.routes = lambda: {"pull:retail.sale": 95.0}
    puller.write()
    Checkpoint.objects.create(name="copy:a:27017/shop.<b>", paused=True, in_sync_at=DatabaseNow() - timedelta(hours=2))
    Checkpoint.objects.create(name="publish")
    page = text(technician)
    table = page.partition('id="routes"')[2].partition("</table>")[0]
    routes = table.split("<tr>")[2:]
    copied, published, pulled = routes
    assert "copy:a:27017/shop.&lt;b&gt;" in copied
    assert "Paused" in copied
    assert "none" in copied
    assert "2 hours" in copied
    assert "unknown" in published
    assert "never" in published
    assert f"process {os.getpid()} on" in pulled
    assert "95 s" in pulled
    assert "Paused" not in published + pulled
    assert "<button" not in "".join(routes), "who may not operate is offered nothing"


def test_a_paused_route_is_resumed_by_its_button_and_the_audit_log_says_so(client: Client, mongo: Database) -> None:
    name = "copy:a:27017,b:27017/shop.sales?/#"
    Checkpoint.objects.create(name=name, paused=True)
    operator = user("operator", *OPERATOR)
    client.force_login(operator)
    page = client.get("/sync/").content.decode()
    assert f'aria-label="Resume {name}"' in page
    assert f'aria-label="Pause {name}"' not in page
    address = re.search(r'action="(/sync/routes/[^"]+/resume/)"', page)[1]
    response = client.post(address, follow=True)
    assert [str(message) for message in response.context["messages"]] == [f"{name} is resumed."]
    assert not Checkpoint.objects.get().paused
    assert f'aria-label="Pause {name}"' in response.content.decode()
    [entry] = Entry.objects.all()
    assert (entry.who, entry.act, entry.model, entry.key) == ("operator", "resume", "sync.checkpoint", name)
    assert (entry.before, entry.after) == ({"paused": True}, {"paused": False})


def test_it_answers_while_mongodb_is_away(technician: Client, mongo: Database, mongod: Mongo, monkeypatch: Any) -> None:
    monkeypatch.setattr("sync.monitoring.status.TIMEOUT", 0.5)
    mongod.kill()
    response = technician.get("/sync/")
    assert response.status_code == 200
    assert "Waiting for MongoDB" in response.content.decode()
    assert "unknown" in response.content.decode()


def test_it_asks_the_same_few_questions_for_any_number_of_changes_and_workers(
    technician: Client, mongo: Database
) -> None:
    technician.get("/sync/")
    with CaptureQueriesContext(connection) as few:
        technician.get("/sync/")
    for number in range(3):
        WorkerHeartbeat("default").write()
        Checkpoint.objects.create(name=f"pull:{number}", paused=True)
        Change.objects.create(model="finance.account", key=number, error="MongoDB: no", due_at=DatabaseNow())
    with CaptureQueriesContext(connection) as many:
        technician.get("/sync/")
    assert len(many) == len(few) <= 22


def test_rows_and_documents_are_counted_now_and_then_and_it_says_when(technician: Client, mongo: Database) -> None:
    def shown() -> list[int | None]:
        return [model.rows for model in technician.get("/sync/").context["status"].models if model.name == "accounts"]

    assert shown() == [0]
    make(1).save()
    with CaptureQueriesContext(connection) as queries:
        assert shown() == [0]
    assert not [query for query in queries if "FROM `finance_account`" in query["sql"].replace('"', "`")]
    assert "Counted" in text(technician)
    cache.delete(COUNTS)
    assert shown() == [1]


def test_others_may_not_see_it(client: Client, mongo: Database) -> None:
    assert client.get("/sync/").status_code == 302
    client.force_login(get_user_model().objects.create_user("someone", "someone@example.com", "x"))
    assert client.get("/sync/").status_code == 403
