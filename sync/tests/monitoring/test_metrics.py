"""/metrics: the values of status in Prometheus' format, for authorized readers only."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from pymongo.database import Database

from sync.core.clock import DatabaseNow
from sync.kafka.consumer import ConsumerHeartbeat
from sync.monitoring.status import status
from sync.outbox.models import Change
from sync.replication.models import DeadLetter
from sync.tests.support.factories import leave_pending, make
from sync.tests.support.metrics import samples
from sync.verification.models import Mismatch
from sync.workers.heartbeat import CONSUMER, SILENCE, WorkerHeartbeat
from sync.workers.lag import BOUNDS
from sync.workers.models import Checkpoint, Worker
from tests.servers import Mongo

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.usefixtures("fresh_heartbeat"),
]  # fmt: skip


def test_metrics_need_a_token_or_the_permission(client: Client, mongo: Database, settings: Any) -> None:
    def answer(header: str) -> int:
        return client.get("/metrics", headers={"authorization": header}).status_code

    assert client.get("/metrics").status_code == 404
    assert answer("Bearer ") == answer("Bearer") == 404, "an empty token counts as no token"
    settings.SYNC_METRICS_TOKEN = "s3cret-é"
    for header in ("Bearer ", "Bearer s3cret", "Basic s3cret-é", "s3cret-é", "Bearer  s3cret-é"):
        assert answer(header) == 404
    assert client.post("/metrics").status_code == 405
    client.force_login(get_user_model().objects.create_user("someone", "someone@example.com", "x"))
    assert client.get("/metrics").status_code == 404


def test_a_token_or_the_permission_opens_them(client: Client, mongo: Database, settings: Any) -> None:
    settings.SYNC_METRICS_TOKEN = "s3cret"
    response = client.get("/metrics", headers={"authorization": "Bearer s3cret"})
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert samples(response.content.decode())["sync_mongodb_up",] == 1
    settings.SYNC_METRICS_TOKEN = ""
    user = get_user_model().objects.create_user("tech", "tech@example.com", "x")
    user.user_permissions.add(Permission.objects.get(codename="view_console"))
    client.force_login(user)
    assert client.get("/metrics").status_code == 200


def test_metrics_match_status(mongo: Database) -> None:
    leave_pending(30)
    account, moment = "finance.account", Change.objects.get().due_at
    Change.objects.create(model=account, key="a", due_at=moment, failed=True, error="MongoDB: no")
    Change.objects.create(model=account, key="", until="f" * 24, due_at=moment)
    Mismatch.objects.create(model=account, key="a", kind="missing", last_seen=moment)
    now = samples()
    assert now["sync_rows", account] == now["sync_documents", account] == 1
    assert now["sync_pending", account] == now["sync_backfill_ranges", account] == 1
    assert now["sync_failed", "rejected by MongoDB", account] == 1
    assert now["sync_mismatches", account] == 1
    assert 30 <= now["sync_oldest_pending_seconds",] < 60
    assert (now["sync_workers", "relay"], now["sync_workers", "inline"]) == (0, 1)
    assert ("sync_verified_timestamp_seconds", account) not in now


def test_lags_are_a_cumulative_histogram_of_each_worker(mongo: Database) -> None:
    heartbeats = WorkerHeartbeat("default"), WorkerHeartbeat("default")
    for heartbeat in heartbeats:
        heartbeat.count(4, [0.001, 0.0011, 100.0, 9999.0])
        heartbeat.write()
    now = samples()
    for heartbeat in heartbeats:
        buckets = [now["sync_lag_seconds_bucket", "relay", str(bound), heartbeat.id] for bound in BOUNDS]
        assert buckets == sorted(buckets)
        assert (buckets[0], buckets[1], buckets[-1]) == (1, 2, 3)
        assert now["sync_lag_seconds_bucket", "relay", "+Inf", heartbeat.id] == 4
        assert now["sync_lag_seconds_count", "relay", heartbeat.id] == 4
        assert now["sync_lag_seconds_sum", "relay", heartbeat.id] == pytest.approx(10099.0021)
        assert now["sync_delivered_total", "relay", heartbeat.id] == 4


def test_a_consumer_reports_its_lag_in_messages() -> None:
    heartbeat = ConsumerHeartbeat("default", "kafka:stories_1", CONSUMER)
    heartbeat.lag = 1234
    heartbeat.note = "1,234 messages behind"
    heartbeat.write()
    lags = {tuple(labels): value for (name, *labels), value in samples().items() if name == "sync_consumer_lag"}
    assert lags == {("kafka:stories_1", heartbeat.id): 1234}
    assert status().relays == 0, "a consumer is not a relay: it delivers no changes"


def test_each_route_reports_whether_it_is_up_and_paused_and_its_lag(mongo: Database) -> None:
    assert not [name for name in samples() if name[0].startswith("sync_route")]
    late, later = (WorkerHeartbeat("default", kind=CONSUMER) for _ in range(2))
    for heartbeat, behind in ((late, 3.0), (later, 90.0)):
        heartbeat.routes = lambda behind=behind: {"consume:a": behind, "consume:b": None}  # type: ignore[misc]
        heartbeat.write()
    Checkpoint.objects.create(name="publish", paused=True, in_sync_at=DatabaseNow() - timedelta(seconds=600))
    now = samples()
    assert [now["sync_route_up", name] for name in ("consume:a", "consume:b", "publish")] == [1, 1, 0]
    assert [now["sync_route_paused", name] for name in ("consume:a", "consume:b", "publish")] == [0, 0, 1]
    assert now["sync_route_lag_seconds", "consume:a"] == 90, "the lag of the worker that is furthest behind"
    assert ("sync_route_lag_seconds", "consume:b") not in now
    assert 600 <= now["sync_route_lag_seconds", "publish"] < 660
    Worker.objects.update(heartbeat_at=DatabaseNow() - timedelta(seconds=SILENCE[CONSUMER] + 1))
    assert samples()["sync_route_up", "consume:a"] == 0
    assert 90 <= samples()["sync_route_lag_seconds", "consume:a"] < 150, "the lag continues to grow without a worker"


def test_histograms_with_other_bounds_are_ignored(mongo: Database) -> None:
    make(1).save()
    Worker.objects.update(lags={"recent": [1, 2], "ever": [1, 2], "seconds": 3.0})
    assert status().lag.delivered == 0
    Worker.objects.update(lags={})
    assert status().lag.p50 is None
    assert samples()["sync_workers", "inline"] == 1


def test_unknown_values_are_absent(mongo: Database, mongod: Mongo, monkeypatch: Any) -> None:
    monkeypatch.setattr("sync.monitoring.status.TIMEOUT", 0.5)
    make(1).save()
    mongod.kill()
    now = samples()
    assert now["sync_mongodb_up",] == 0
    assert now["sync_rows", "finance.account"] == 1
    assert not [name for name in now if name[0] == "sync_documents"]


def test_a_stuck_worker_is_counted(mongo: Database) -> None:
    heartbeat = WorkerHeartbeat("default")
    heartbeat.at_work(True)
    heartbeat.write()
    assert (samples()["sync_workers", "relay"], samples()["sync_stuck_workers", "relay"]) == (1, 0)
    assert heartbeat.batch_began
    heartbeat.batch_began -= 60
    heartbeat.write()
    assert (samples()["sync_workers", "relay"], samples()["sync_stuck_workers", "relay"]) == (1, 1)


def test_dead_letters_of_pulls_are_counted(mongo: Database) -> None:
    name = ("sync_pull_dead_letters", "retail.sale")
    assert samples()[name] == 0
    DeadLetter.objects.create(id="1", model="retail.sale", key="1", document_key=b"", reason="it does not fit")
    assert samples()[name] == 1
