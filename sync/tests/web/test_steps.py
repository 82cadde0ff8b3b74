"""The console offers operators what to do next as a button, and a command only where it cannot act itself."""

import re

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pymongo.database import Database

from sync.outbox.models import Change
from sync.tests.support.factories import leave_pending
from sync.tests.support.people import OPERATOR, VIEWER, user
from sync.verification.models import Mismatch, Verification
from sync.web.console import COUNTS
from sync.workers.heartbeat import WorkerHeartbeat
from sync.workers.models import Checkpoint, ModelState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh_heartbeat")]

LABEL = "finance.account"


@pytest.fixture
def operator(client: Client, mongo: Database) -> Client:
    cache.delete(COUNTS)
    client.force_login(user("theo", *OPERATOR))
    WorkerHeartbeat("default").write()
    return client


def steps(client: Client) -> list[tuple[str, str]]:
    """The title and address of each step."""
    page = client.get("/sync/").content.decode()
    links = re.findall(r'id="step-\d" href="([^"]+)">([^<]+)</a>', page)
    forms = re.findall(r'<form method="post" action="([^"]+)">(?:(?!</form>).)*id="step-\d">([^<]+)<', page, re.DOTALL)
    return [(title, address) for address, title in links + forms]


def mismatch() -> None:
    now = timezone.now()
    Verification.objects.create(model=LABEL, mode="full", finished_at=now, compared=1, found=1)
    Mismatch.objects.create(model=LABEL, key="a", kind="missing", last_seen=now)


def test_failed_changes_are_retried_on_their_page(operator: Client) -> None:
    leave_pending(1, failed=True, error="MongoDB: no")
    assert steps(operator) == [("Retry failed changes…", "/sync/changes/")]
    assert "manage.py" not in operator.get("/sync/").content.decode()


def test_mismatches_lead_to_the_repair_of_their_model(operator: Client) -> None:
    mismatch()
    assert steps(operator) == [("Repair accounts…", f"/sync/targets/{LABEL}/repair/")]
    assert "manage.py" not in operator.get("/sync/").content.decode()


def test_paused_targets_and_routes_are_resumed_at_once(operator: Client) -> None:
    leave_pending(1)
    ModelState.objects.update_or_create(model=LABEL, defaults={"paused": True})
    ModelState.objects.update_or_create(model="finance.customer", defaults={"paused": True})  # nothing waits for it
    Checkpoint.objects.create(name="publish", paused=True)
    Change.objects.update(recorded_at=timezone.now())
    found = steps(operator)
    assert found == [
        ("Resume accounts", f"/sync/targets/{LABEL}/resume/"),
        ("Resume publish", "/sync/routes/publish/resume/"),
    ]
    assert "manage.py" not in operator.get("/sync/").content.decode()
    for _title, address in found:
        operator.post(address)
    assert not ModelState.objects.get(model=LABEL).paused
    assert not Checkpoint.objects.get().paused


def test_there_are_at_most_three(operator: Client) -> None:
    for number in range(5):
        Checkpoint.objects.create(name=f"pull:{number}", paused=True)
    assert [title for title, _ in steps(operator)] == ["Resume pull:0", "Resume pull:1", "Resume pull:2"]


def test_a_missing_relay_is_started_with_a_command(operator: Client) -> None:
    leave_pending(7)
    page = operator.get("/sync/").content.decode()
    assert steps(operator) == []
    assert "manage.py sync relay" in page


def test_nobody_else_sees_them(operator: Client, client: Client) -> None:
    mismatch()
    client.force_login(user("vera", *VIEWER))
    assert steps(client) == []
