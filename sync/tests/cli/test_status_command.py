"""`sync status`: a table for people, JSON for programs, an exit status for scripts."""

import json
import os
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import BaseCommand, CommandError
from django.db import OperationalError
from pymongo.database import Database

from sync.core.clock import DatabaseNow
from sync.management.commands.sync import Command
from sync.outbox.models import Change
from sync.tests.support.commands import sync
from sync.tests.support.factories import leave_pending, make
from sync.tests.support.hurry import confirm
from sync.verification.models import Mismatch, Verification
from sync.workers.heartbeat import FOLLOWER, WorkerHeartbeat
from sync.workers.models import Checkpoint, ModelState
from tests.servers import Mongo

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.usefixtures("fresh_heartbeat"),
]  # fmt: skip


def run(*options: str) -> tuple[int, str]:
    return sync("status", *options)


def test_it_prints_a_table_and_exits_with_0_when_in_sync(mongo: Database) -> None:
    make(1).save()
    code, output = run()
    assert code == 0
    assert output.startswith("In sync. 1 change in flight.")
    confirm()
    code, output = run()
    assert code == 0
    assert output.startswith("In sync. MongoDB has every committed change.")
    assert "finance.account" in output
    assert "inline" in output
    assert "relay: none running; start one: manage.py sync relay" in output
    assert "p50 unknown" not in output


def test_it_exits_with_0_while_changes_are_in_flight_and_with_1_when_they_are_late(
    mongo: Database, settings: Any
) -> None:
    settings.SYNC_INLINE = False
    make(1).save()
    make(2).save()
    code, output = run()
    assert code == 0
    assert output.startswith("In sync. 2 changes in flight.")
    Change.objects.update(recorded_at=DatabaseNow() - timedelta(seconds=30))
    assert run()[0] == 1
    assert "p50 unknown" in output


def test_it_prints_the_command_when_no_relay_is_running(mongo: Database) -> None:
    leave_pending(30)
    code, output = run()
    assert code == 1
    reason = "Changes are pending and no relay delivers them. Start one: manage.py sync relay ("
    assert output.startswith(f"Stalled: {reason}")
    WorkerHeartbeat("default").write()
    assert run()[1].startswith("Lagging: ")
    assert "relay: 1 running" in run()[1]


def test_it_names_reasons_pauses_backfills_and_verifications(mongo: Database) -> None:
    leave_pending(30, failed=True, error="MongoDB: no [bold]")
    Change.objects.create(model="finance.account", key="", until="f" * 24, due_at=Change.objects.get().due_at)
    ModelState.objects.update_or_create(model="finance.account", defaults={"paused": True})
    moment = Change.objects.filter(until="").get().due_at
    Verification.objects.create(model="finance.account", mode="sampled", finished_at=moment, compared=1200, found=3)
    Mismatch.objects.create(model="finance.account", key="a", kind="missing", last_seen=moment)
    _, output = run()
    for line in (
        "finance.account: paused; resume it: manage.py sync resume finance.account",
        "finance.account: backfill, 1 range left",
        "finance.account: rejected by MongoDB: 1 failed, 0 retrying",
        "1,200 rows compared, 3 mismatches",
    ):
        assert line in output


def test_it_names_each_route_and_how_to_resume_a_paused_one(mongo: Database) -> None:
    assert "route" not in run()[1]
    follower = WorkerHeartbeat("default", kind=FOLLOWER)
    follower.routes = lambda: {"follow-binlog": 2.0}
    follower.write()
    code, output = run()
    assert code == 0
    [line] = [line for line in output.splitlines() if "follow-binlog" in line]
    assert f"process {os.getpid()} on" in line
    assert "2 s" in line
    Checkpoint.objects.create(name="copy:a:27017/shop.[red]", paused=True)
    code, output = run()
    assert code == 1
    assert output.startswith("Paused: A target or route is paused and changes wait. Resume it: manage.py sync resume.")
    assert "copy:a:27017/shop.[red]: paused; resume it: manage.py sync resume copy:a:27017/shop.[red]" in output
    [line] = [line for line in output.splitlines() if "copy:" in line and "none" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "copy:a:27017/shop.[red]", "none", "unknown", "never", "paused",
    ]  # fmt: skip


def test_json_has_the_same_values(mongo: Database) -> None:
    make(1).save()
    confirm()
    data = json.loads(run("--json")[1])
    assert (data["state"], data["relays"], data["pending"], data["oldest_pending_age"]) == ("in_sync", 0, 0, None)
    assert data["lag"]["p50"] > 0
    assert {"kind", "heartbeat_age", "alive", "rate", "note"} <= set(data["workers"][0])
    assert {"pending", "failures", "mismatches", "verified", "backfill", "paused"} <= set(data["models"][0])


def test_it_exits_with_2_while_mongodb_is_down(mongo: Database, mongod: Mongo, monkeypatch: Any) -> None:
    monkeypatch.setattr("sync.monitoring.status.TIMEOUT", 0.5)
    mongod.kill()
    code, output = run("--json")
    assert code == 2
    assert json.loads(output)["models"][0]["documents"] is None
    code, output = run()
    assert code == 2
    assert output.startswith("MongoDB unreachable: MongoDB does not respond")


def test_it_exits_with_2_if_the_checks_cannot_reach_mysql(monkeypatch: pytest.MonkeyPatch) -> None:
    def query(*args: Any, **options: Any) -> None:
        raise OperationalError(2002, "Can't connect to server on '127.0.0.1' (115)")

    monkeypatch.setattr(BaseCommand, "check", query)
    with pytest.raises(CommandError, match=r"^MySQL does not respond") as error:
        Command().check()
    assert error.value.returncode == 2
