"""The console page: its permission, its contents, and its state while MongoDB is unreachable."""

import os
import re
from datetime import UTC, datetime, timedelta
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
from sync.monitoring.status import MEANS, WORDS
from sync.outbox.models import Change
from sync.tests.support.factories import leave_pending, make
from sync.tests.support.people import OPERATOR, user
from sync.verification.models import Mismatch, Verification
from sync.web.console import COUNTS
from sync.web.steps import COMMANDS
from sync.workers.heartbeat import PULLER, SILENCE, WorkerHeartbeat
from sync.workers.models import Checkpoint, ModelState, Worker
from tests.servers import Mongo

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_cached_counts(fresh_heartbeat: None) -> None:
    cache.delete(COUNTS)


@pytest.fixture
def technician(client: Client) -> Client:
    user = get_user_model().objects.create_user("tech", "tech@example.com", "x")
    user.user_permissions.add(Permission.objects.get(codename="view_console"))
    client.force_login(user)
    return client


def text(client: Client) -> str:
    """The page's HTML, with single spaces."""
    return " ".join(client.get("/sync/").content.decode().split())


def test_it_shows_failed_changes_with_their_reasons(technician: Client, mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = False
    make(1).save()
    Change.objects.update(failed=True, error="MongoDB: <b>no</b>")
    page = text(technician)
    assert "Failing" in page
    assert "MongoDB: &lt;b&gt;no&lt;/b&gt;" in page
    assert "finance.account, rejected by MongoDB:</span> 1 failed, 0 retrying" in page


def test_it_shows_lag_and_workers(technician: Client, mongo: Database) -> None:
    assert "no deliveries in the last 5 min" in text(technician)
    relay = WorkerHeartbeat("default")
    relay.count(2, [0.004, 40.0])
    relay.note = "MongoDB does not respond: <i>"
    relay.write()
    page = text(technician)
    assert "p95 50 s, p99 50 s" in page
    assert "MongoDB does not respond: &lt;i&gt;" in page
    assert "dead" not in page
    Worker.objects.update(heartbeat_at=DatabaseNow() - timedelta(seconds=SILENCE["relay"] + 1))
    page = text(technician)
    assert "dead" in page
    assert "Start a relay." in page


def test_it_says_what_to_do_when_no_relay_delivers_pending_changes(technician: Client, mongo: Database) -> None:
    leave_pending(30)
    page = text(technician)
    assert "Stalled" in page
    assert "Changes are pending, but no worker delivers them. Start a relay (for Kafka: a publisher)." in page


def test_it_shows_commands_to_operators_only(technician: Client, client: Client, mongo: Database) -> None:
    leave_pending(30)
    assert "manage.py" not in text(technician)
    client.force_login(user("operator", *OPERATOR))
    page = text(client)
    assert '<summary>CLI</summary> <code class="d-block">manage.py sync relay</code>' in page
    assert "manage.py sync publish" in page


def test_every_state_has_a_meaning() -> None:
    assert set(MEANS) == set(WORDS)
    assert set(COMMANDS) <= set(WORDS)


def test_it_counts_the_changes_in_flight(technician: Client, mongo: Database) -> None:
    page = text(technician)
    assert ">In sync</span>" in page
    assert "MongoDB has every committed change." in page
    leave_pending(0)
    page = text(technician)
    assert ">In sync</span>" in page
    assert "1 change in flight." in page


def test_it_shows_pauses_backfills_and_verifications(technician: Client, mongo: Database) -> None:
    assert "never" in text(technician)
    leave_pending(1, until="f" * 24)
    moment = Change.objects.get().due_at
    ModelState.objects.update_or_create(model="finance.account", defaults={"paused": True})
    Verification.objects.create(model="finance.account", mode="sampled", finished_at=moment)
    Mismatch.objects.create(model="finance.account", key="a", kind="missing", last_seen=moment)
    page = text(technician)
    for words in ("Paused", "Backfill: 1 range left", "(a sample)", ">Mismatched</span>"):
        assert words in page


def test_it_shows_each_route_with_its_worker_lag_and_pause(technician: Client, mongo: Database) -> None:
    assert "Routes" not in text(technician), "there are none"
    puller = WorkerHeartbeat("default", kind=PULLER)
    puller.routes = lambda: {"pull:retail.sale": 95.0}
    puller.write()
    in_sync_at = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    Checkpoint.objects.create(name="copy:a:27017/shop.<b>", paused=True, in_sync_at=in_sync_at)
    Checkpoint.objects.create(name="publish")
    page = text(technician)
    table = page.partition('id="routes"')[2].partition("</table>")[0]
    routes = table.split("<tr>")[2:]
    copied, published, pulled = routes
    assert "copy:a:27017/shop.&lt;b&gt;" in copied
    assert "Paused" in copied
    assert "none" in copied
    assert "2026-01-31 23:59:59 UTC" in copied
    assert "unknown" in published
    assert "never" in published
    assert f"process {os.getpid()} on" in pulled
    assert "95 s" in pulled
    assert "Paused" not in published + pulled
    assert "<button" not in "".join(routes), "a viewer has no buttons"


def test_a_button_resumes_a_paused_route_and_the_audit_log_has_an_entry(client: Client, mongo: Database) -> None:
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


def test_it_responds_while_mongodb_is_unreachable(
    technician: Client, mongo: Database, mongod: Mongo, monkeypatch: Any
) -> None:
    monkeypatch.setattr("sync.monitoring.status.TIMEOUT", 0.5)
    mongod.kill()
    response = technician.get("/sync/")
    assert response.status_code == 200
    assert "MongoDB unreachable" in response.content.decode()
    assert "unknown" in response.content.decode()


def test_the_number_of_queries_does_not_depend_on_changes_and_workers(technician: Client, mongo: Database) -> None:
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


def test_counts_of_rows_and_documents_are_cached_and_their_time_is_shown(technician: Client, mongo: Database) -> None:
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


def test_other_users_may_not_see_it(client: Client, mongo: Database) -> None:
    assert client.get("/sync/").status_code == 302
    client.force_login(get_user_model().objects.create_user("someone", "someone@example.com", "x"))
    assert client.get("/sync/").status_code == 403
