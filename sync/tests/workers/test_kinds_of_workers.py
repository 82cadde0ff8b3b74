"""Kinds of workers: a worker that is alive does not necessarily deliver the pending changes of a queue."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from prometheus_client.parser import text_string_to_metric_families
from pymongo.database import Database

from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.kafka.consumer import ConsumerHeartbeat
from sync.monitoring.metrics import exposition
from sync.monitoring.status import status
from sync.outbox.models import Change
from sync.tests.support.factories import make
from sync.tests.support.hurry import LONG_AGO, confirm
from sync.workers.heartbeat import INLINE_HEARTBEAT, SILENCE, STUCK, Heartbeat, Kind, WorkerHeartbeat
from sync.workers.models import ModelState, Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture(autouse=True)
def late(mongo: Database) -> None:
    """A change that has been pending for longer than a running relay would need."""
    INLINE_HEARTBEAT.reset()
    make(1).save()
    confirm()
    Worker.objects.all().delete()
    pending()


def pending(label: str = "finance.account", queue: str = "", **values: Any) -> None:
    Change.objects.create(
        model=label, queue=queue, key=Account.objects.get().pk, due_at=LONG_AGO,
        recorded_at=DatabaseNow() - timedelta(seconds=30), **values,
    )  # fmt: skip


def beat(kind: Kind, queue: str = "") -> Heartbeat:
    heartbeats = {Kind.INLINE: Heartbeat(kind), Kind.CONSUMER: ConsumerHeartbeat("default", queue, kind)}
    heartbeat = heartbeats.get(kind) or WorkerHeartbeat("default", queue, kind)
    heartbeat.write()
    return heartbeat


def status_output() -> str:
    out = io.StringIO()
    with suppress(SystemExit):
        call_command("sync", "status", stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.RELAY])
def test_only_a_relay_delivers_to_mongodb(kind: Kind) -> None:
    beat(kind)
    assert (status().word, status().relays) == ("stalled", 0)
    assert "relay: none running; start one: manage.py sync relay" in status_output()
    beat(Kind.RELAY)
    assert (status().word, status().relays) == ("lagging", 1)
    assert "relay: 1 running" in status_output()


def test_every_kind_without_a_relay_is_still_stalled() -> None:
    for kind in Kind:
        if kind is not Kind.RELAY:
            beat(kind)
    assert (status().word, status().relays) == ("stalled", 0)


@pytest.mark.parametrize(("kind", "queue"), [(Kind.RELAY, "eu"), (Kind.RELAY, "kafka"), (Kind.PUBLISHER, "kafka")])
def test_a_worker_of_another_queue_does_not_deliver_here(kind: Kind, queue: str) -> None:
    beat(kind, queue)
    assert (status().word, status().relays) == ("stalled", 0)


def test_a_relay_does_not_publish() -> None:
    Change.objects.all().delete()
    pending("news.story@kafka:story-events", "kafka")
    beat(Kind.RELAY)
    assert status().word == "stalled"
    assert "publisher: none running; start one: manage.py sync publish" in status_output()
    beat(Kind.PUBLISHER, "kafka")
    assert status().word == "lagging"
    assert "publisher: 1 running" in status_output()


def test_a_relay_that_is_stuck_in_a_batch_does_not_deliver() -> None:
    heartbeat = WorkerHeartbeat("default")
    heartbeat.at_work(True)
    heartbeat.batch_began -= STUCK + 10
    heartbeat.write()
    assert (status().word, status().relays) == ("stalled", 0)
    assert [(worker.alive, worker.stuck, worker.delivers) for worker in status().workers] == [(True, True, False)]
    assert "relay: none running, 1 stuck; start one: manage.py sync relay" in status_output()
    heartbeat.at_work(False)
    heartbeat.write()
    assert (status().word, status().relays) == ("lagging", 1)


def test_a_dead_relay_does_not_deliver() -> None:
    beat(Kind.RELAY)
    Worker.objects.update(heartbeat_at=DatabaseNow() - timedelta(seconds=SILENCE[Kind.RELAY] + 1))
    assert (status().word, status().relays) == ("stalled", 0)
    assert "relay: none running" in status_output()


def test_a_paused_target_is_not_stalled() -> None:
    ModelState.objects.update_or_create(model="finance.account", defaults={"paused": True})
    beat(Kind.FOLLOWER)
    assert status().word == "paused"


def test_a_backfill_without_a_relay_is_stalled_too() -> None:
    Change.objects.all().delete()
    pending(until="f" * 24)
    beat(Kind.FOLLOWER)
    assert status().word == "stalled"
    beat(Kind.RELAY)
    assert status().word == "lagging"
    Worker.objects.all().delete()
    Change.objects.update(claim="a" * 24, due_at=DatabaseNow() + timedelta(seconds=20))
    assert status().word == "lagging", "a relay has claimed it"


def test_a_kind_of_another_release_causes_no_error_and_does_not_deliver() -> None:
    beat(Kind.RELAY)
    Worker.objects.update(kind="teleporter")
    assert (status().word, status().relays) == ("stalled", 0)
    assert "teleporter" in status_output()


def test_the_metrics_count_every_kind() -> None:
    for kind in Kind:
        beat(kind)
    [family] = [
        family for family in text_string_to_metric_families(exposition().decode()) if family.name == "sync_workers"
    ]
    assert {sample.labels["kind"]: sample.value for sample in family.samples} == dict.fromkeys(Kind, 1)
