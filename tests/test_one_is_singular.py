"""No page and no command says "1 changes" when there is one of something."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pymongo.database import Database

from accounts.models import User
from audit.models import Entry
from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.core.humanize import counted, duration
from sync.jobs.models import Job
from sync.monitoring.models import Sample
from sync.outbox.models import Change
from sync.tests.support.factories import make
from sync.tests.support.hurry import LONG_AGO, confirm
from sync.verification.models import Mismatch, Verification
from sync.workers.heartbeat import INLINE_HEARTBEAT, Kind, WorkerHeartbeat
from tests.plurals import wrong


def test_wrong_plurals_are_found() -> None:
    assert wrong("<p>There are 1 changes.</p>") == ["1 changes"]
    assert wrong("<b>1</b> <i>keys</i> 21 rows, 1,001 rows, 0.1 rows, 1 ms, 1 process, 2026-01-1 days") == []


@pytest.fixture
def one_of_each(mongo: Database) -> Account:
    """One row, and one of everything that the mirror counts."""
    INLINE_HEARTBEAT.reset()
    row = make(1)
    row.products = ["Brokerage"]
    row.save()
    confirm()
    heart = WorkerHeartbeat("default", kind=Kind.RELAY)
    heart.count(1, [0.001])
    heart.write()
    late = DatabaseNow() - timedelta(seconds=60)
    for values in (
        {}, {"failed": True, "error": "MongoDB: no"}, {"error": "MongoDB: no"}, {"settling": True}, {"until": "f" * 24}
    ):  # fmt: skip
        made = {"model": "finance.account", "key": row.pk, "due_at": late, "recorded_at": late, "attempts": 1} | values
        Change.objects.create(**made)
    moment = datetime.now(UTC)
    Verification.objects.create(
        model="finance.account", mode="full", finished_at=moment, compared=1, found=1, pending=1
    )
    Mismatch.objects.create(model="finance.account", key=row.pk, kind="missing", last_seen=moment)
    for kind in ("verify", "repair", "backfill"):
        Job.objects.create(model="finance.account", kind=kind, finished_at=moment, steps=1, done=1, found=1, repaired=1)
    Sample.objects.create(slot=int(moment.timestamp()) // 15, pending=1, oldest_age=1.0, rate=1.0, p50=1.0, p99=1.0)
    return row


@pytest.mark.django_db(transaction=True)
def test_no_console_page_has_a_wrong_plural(one_of_each: Account, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root", "root@example.com", "a-password-9"))
    failed = Change.objects.get(failed=True)
    responses = []
    for path in ("/sync/", "/sync/live/", "/sync/changes/", f"/sync/record/finance.account/{one_of_each.pk}/"):
        responses.append(client.get(path))
    for act in ("retry", "discard"):
        for sure in ({}, {"sure": "on"}):
            data = {"act": act, "which": "all", "expected": 1, "model": "finance.account"} | sure
            responses.append(client.post("/sync/changes/order/", data, follow=True))
    selected = {"act": "retry", "which": "selected", "change": [failed.pk, "x"]}
    responses.append(client.post("/sync/changes/order/", selected))
    responses += [client.get(f"/sync/targets/finance.account/{act}/") for act in ("repair", "backfill")]
    for act in ("pause", "resume", "verify"):
        responses.append(client.post(f"/sync/targets/finance.account/{act}/", follow=True))
    responses += [client.get(path) for path in ("/sync/", "/audit/", "/help/")]
    for answer in responses:
        assert answer.status_code in (200, 302)
        assert wrong(answer.content.decode()) == [], answer.request["PATH_INFO"]


def command(*words: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    with suppress(SystemExit, CommandError):
        call_command(*words, stdout=out, stderr=err)
    return out.getvalue() + err.getvalue()


@pytest.mark.django_db(transaction=True)
def test_no_command_prints_a_wrong_plural(
    one_of_each: Account, mongo: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, settings: Any
) -> None:
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "n")
    caplog.set_level("INFO")
    Entry.objects.create(act="retry", at=LONG_AGO)
    settings.SYNC_BATCH = 1
    key = one_of_each.pk
    (tmp_path / "accounts.json").write_text('{"_id": {"$oid": "%s"}, "account_id": 9, "limit": 1}\n' % ("e" * 24))
    output = {
        words: command(*words)
        for words in (
            ("sync", "status"), ("sync", "trace", "account", key), ("sync", "discard", "account"),
            ("sync", "retry"), ("sync", "retry", "--all"), ("sync", "retry", "account", key),
            ("sync", "verify", "account"), ("sync", "verify", "account", "--repair"),
            ("sync", "backfill", "account", "--plan-only"), ("sync", "backfill", "account"),
            ("sync", "relay", "--once"),
            ("sync", "pause", "account"), ("sync", "resume", "account"), ("sync", "discard", "account", "--yes"),
            ("audit_prune", "--dry-run", "--days", "1"), ("audit_prune", "--days", "1"),
            ("import_dataset", str(tmp_path)), ("refresh_totals",), ("dual_write_test",), ("sync", "status"),
        )
    }  # fmt: skip
    assert "1 row compared" in output["sync", "verify", "account"]
    assert "1 entry older than 1 day is removed." in output["audit_prune", "--days", "1"]
    assert questions
    assert all(output.values())
    for words, text in [*output.items(), ("question", " ".join(questions)), ("log", caplog.text)]:
        assert wrong(text) == [], words


def test_the_helpers_use_the_right_number() -> None:
    assert [counted(n, "key", "keys") for n in (0, 1, 2, 1200)] == ["0 keys", "1 key", "2 keys", "1,200 keys"]
    assert duration(2 * 86400) == "2 days"
    assert wrong(" ".join(duration(seconds) for seconds in (0.001, 1, 60, 120, 3600, 7200, 86400))) == []
