"""The output of --json matches docs/schemas/: one format for times and numbers, and null for unknown."""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
from bson import ObjectId
from django.core.management import call_command
from jsonschema.validators import extend
from pymongo.database import Database

from finance.models import Account
from sync.cli.output import dumps
from sync.outbox.models import Change
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.verification.models import Mismatch, Verification
from sync.workers.heartbeat import Heartbeat, Kind, WorkerHeartbeat
from sync.workers.models import Checkpoint, ModelState, Worker
from tests.servers import ROOT, Mongo

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.usefixtures("fresh_heartbeat"),
]  # fmt: skip

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
WHOLE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)  # DjangoJSONEncoder omits the microseconds of such a time


def is_float(checker: Any, value: Any) -> bool:
    return isinstance(value, float)


def is_integer(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# JSON Schema treats 1 and 1.0 as one number, but programs read them as two types.
STRICT = extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("number", is_float).redefine(
        "integer", is_integer
    ),
)


def printed(verb: str, *options: str) -> Any:
    """Return the output of `sync VERB --json`, validated against its schema."""
    out = io.StringIO()
    with suppress(SystemExit):
        call_command("sync", verb, "--json", *options, stdout=out)
    schema = json.loads((ROOT / "docs" / "schemas" / f"{verb}.schema.json").read_text())
    STRICT.check_schema(schema)
    data = json.loads(out.getvalue())
    STRICT(schema).validate(data)
    return data


def test_status_of_an_empty_mirror(mongo: Database) -> None:
    data = printed("status")
    assert (data["rate"], data["lag"]["p50"], data["oldest_pending_age"]) == (None, None, None)
    assert (data["workers"], data["routes"]) == ([], [])


def test_status_with_every_kind_of_worker_and_change(mongo: Database) -> None:
    make(1).save()
    for kind in Kind:
        queue = "kafka" if kind is Kind.PUBLISHER else ""
        heartbeat = WorkerHeartbeat("default", queue, kind) if kind is not Kind.INLINE else Heartbeat(kind)
        heartbeat.count(1, [1.0, 2000.0])
        if isinstance(heartbeat, WorkerHeartbeat) and kind is Kind.PULLER:
            heartbeat.routes = lambda: {"pull:retail.sale": 0.0}
        heartbeat.write()
    Checkpoint.objects.create(name="copy:a:27017/shop.sales", paused=True, in_sync_at=WHOLE)
    Checkpoint.objects.create(name="publish")
    Worker.objects.update(started_at=WHOLE, rate=3)
    account = Account.objects.get()
    for values in ({"failed": True, "error": "MongoDB: no"}, {"until": "f" * 24}, {"error": "x"}, {"settling": True}):
        Change.objects.create(model="finance.account", key=account.pk, due_at=WHOLE, recorded_at=WHOLE, **values)
    Change.objects.create(model="gone.model", key="1", due_at=WHOLE, recorded_at=WHOLE)
    Change.objects.create(
        model="finance.account", key="x", due_at=WHOLE + timedelta(days=36500), recorded_at=WHOLE, claim="a"
    )
    ModelState.objects.update_or_create(model="finance.account", defaults={"delivered_at": WHOLE, "paused": True})
    Verification.objects.create(model="finance.account", mode="full", finished_at=WHOLE, compared=1, found=1)
    Mismatch.objects.create(model="finance.account", key="a", kind="missing", last_seen=WHOLE)
    data = printed("status")
    [model] = [model for model in data["models"] if model["model"] == "finance.account"]
    assert model["last_delivery"] == model["verified"]["finished_at"] == "2026-01-02T03:04:05.000000+00:00"
    assert {worker["started_at"] for worker in data["workers"]} == {"2026-01-02T03:04:05.000000+00:00"}
    assert {worker["kind"] for worker in data["workers"] if worker["delivers"]} == {"relay", "publisher"}
    [gone] = [model for model in data["models"] if model["model"] == "gone.model"]
    assert (gone["rows"], gone["documents"], gone["verified"]) == (None, None, None)
    copied, published, pulled = data["routes"]
    assert (copied["kind"], copied["alive"], copied["holder"], copied["paused"]) == ("copy", False, "", True)
    assert copied["in_sync_at"] == "2026-01-02T03:04:05.000000+00:00"
    assert (published["name"], published["lag"], published["in_sync_at"]) == ("publish", None, None)
    assert (pulled["kind"], pulled["alive"], pulled["lag"], pulled["paused"]) == ("pull", True, 0.0, False)
    assert re.fullmatch(r"process \d+ on .+", pulled["holder"])
    times = re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', json.dumps(data))
    assert len(times) > 8
    assert all(TIME.fullmatch(time) for time in times)


def test_status_has_null_for_unknown_values_while_mongodb_is_down(
    mongo: Database, mongod: Mongo, monkeypatch: Any
) -> None:
    monkeypatch.setattr("sync.monitoring.status.TIMEOUT", 0.5)
    mongod.kill()
    data = printed("status")
    assert (data["mongodb_up"], data["models"][0]["documents"]) == (False, None)


def test_verify_with_every_kind_of_mismatch(mongo: Database) -> None:
    rows = [make(number) for number in range(5)]
    for row in rows:
        row.save()
    confirm()
    missing, wrong, typed, ordered, _ = (ObjectId(row.pk) for row in rows)
    mongo.accounts.delete_one({"_id": missing})
    mongo.accounts.update_one({"_id": wrong}, {"$set": {"limit": 7}, "$unset": {"products": ""}})
    mongo.accounts.update_one({"_id": typed}, {"$set": {"limit": float(rows[2].limit)}})
    document = mongo.accounts.find_one({"_id": ordered})
    mongo.accounts.replace_one({"_id": ordered}, dict(reversed(document.items())))
    mongo.accounts.insert_one({"_id": ObjectId()})
    [run] = printed("verify", "account")
    assert {"missing", "different", "type", "extra"} <= {each["kind"] for each in run["mismatches"]}
    assert all(TIME.fullmatch(each["first_seen"]) for each in run["mismatches"])
    Verification.objects.update(started_at=WHOLE)
    assert printed("verify", "account", "--sample", "2")[0]["mode"] == "sampled"
    assert printed("verify", "account", "--strict")[0]["mode"] == "strict"
    assert printed("verify", "account", "--repair", "--prune")[0]["repaired"] == 5


def test_every_time_has_six_digits_and_the_zone() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    times = [WHOLE, WHOLE.replace(microsecond=1), WHOLE.replace(microsecond=120000), WHOLE.astimezone(east)]
    assert json.loads(dumps(times)) == [
        "2026-01-02T03:04:05.000000+00:00", "2026-01-02T03:04:05.000001+00:00", "2026-01-02T03:04:05.120000+00:00",
        "2026-01-02T03:04:05.000000+00:00",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf"), WHOLE.replace(tzinfo=None), WHOLE.date(), object()])
def test_values_without_a_json_form_are_rejected(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        dumps({"x": value})


def test_every_command_uses_the_shared_json_format() -> None:
    for path in (ROOT / "sync" / "cli").glob("*.py"):
        text = path.read_text()
        assert '"--json"' not in text or "sync.cli.output" in text, path
        assert "DjangoJSONEncoder" not in text
