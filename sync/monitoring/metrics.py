"""Status as Prometheus metrics, read from the database at each scrape: correct with any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from sync.mapping.registry import label
from sync.monitoring.binary_log import BinaryLog, binary_log
from sync.monitoring.status import Status, status
from sync.replication.models import DeadLetter
from sync.replication.pulled import pulled_models
from sync.workers.heartbeat import CONSUMER, Kind
from sync.workers.lag import BOUNDS, total

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# Metrics of each model: name, attribute of ModelStatus, help text. Unknown values are absent, not zero.
OF_MODELS = (
    ("sync_rows", "rows", "Rows in MySQL."),
    ("sync_documents", "documents", "Documents in MongoDB; absent while unknown."),
    ("sync_pending", "pending", "Changes not yet delivered."),
    ("sync_in_flight", "in_flight", "Changes being delivered, or delivered and not yet confirmed."),
    ("sync_settling", "settling", "Deletes that were delivered and will be delivered once more."),
    ("sync_backfill_ranges", "backfill", "Ranges of rows that a backfill still has to deliver."),
    ("sync_fan_outs", "fan_outs", "Rows whose changes still have to reach documents that embed them."),
    (
        "sync_mismatches",
        "mismatches",
        "Keys that verify found different and that are not yet in sync; absent while unknown.",
    ),
    ("sync_paused", "paused", "1 while delivery is paused."),
)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(MirrorCollector())
    return generate_latest(registry)


class MirrorCollector(Collector):
    """Reads the status at each scrape."""

    def collect(self) -> Iterator[Metric]:
        now = status()
        yield GaugeMetricFamily("sync_mongodb_up", "1 while MongoDB responds.", now.mongodb_up)
        oldest = now.oldest_pending_age or 0.0  # None means that nothing is pending, which is zero and not unknown
        yield GaugeMetricFamily("sync_oldest_pending_seconds", "Age of the oldest change not yet delivered.", oldest)
        yield from _of_models(now)
        yield from _failures(now)
        yield from _of_workers(now)
        yield from _of_routes(now)
        yield from _of_pulls()
        yield from _of_binary_log(binary_log(DEFAULT_DB_ALIAS))


def _of_models(now: Status) -> Iterator[Metric]:
    for name, attribute, meaning in OF_MODELS:
        family = GaugeMetricFamily(name, meaning, labels=["model"])
        for model in now.models:
            value = getattr(model, attribute)
            if value is not None:
                family.add_metric([model.model], value)
        yield family
    verified = GaugeMetricFamily("sync_verified_timestamp_seconds", "When verify last finished.", labels=["model"])
    for model in now.models:
        if model.verified:
            verified.add_metric([model.model], model.verified.finished_at.timestamp())
    yield verified


def _failures(now: Status) -> Iterator[Metric]:
    failed = GaugeMetricFamily(
        "sync_failed",
        "Rows with a dead letter: a failed change that is not retried, by reason.",
        labels=["model", "class"],
    )
    retrying = GaugeMetricFamily(
        "sync_retrying", "Rows with a change that failed and is being retried.", labels=["model", "class"]
    )
    for model in now.models:
        for failure in model.failures:
            failed.add_metric([model.model, failure.reason], failure.failed)
            retrying.add_metric([model.model, failure.reason], failure.retrying)
    yield failed
    yield retrying


def _of_workers(now: Status) -> Iterator[Metric]:
    """One series per worker: a sum would decrease when a worker stops, and counters must not decrease."""
    alive = [worker for worker in now.workers if worker.alive]
    workers = GaugeMetricFamily("sync_workers", "Worker processes that are alive, by kind.", labels=["kind"])
    for kind in Kind:
        workers.add_metric([kind], len({worker.process for worker in alive if worker.kind == kind}))
    yield workers
    stuck = GaugeMetricFamily(
        "sync_stuck_workers", "Worker processes that do not finish a batch, by kind.", labels=["kind"]
    )
    for kind in Kind:
        stuck.add_metric(
            [kind], len({worker.process for worker in now.workers if worker.kind == kind and worker.stuck})
        )
    yield stuck
    labels = ["kind", "worker"]
    delivered = CounterMetricFamily("sync_delivered", "Keys delivered since the worker started.", labels=labels)
    lag = HistogramMetricFamily("sync_lag_seconds", "From commit to delivery.", labels=labels)
    behind = GaugeMetricFamily("sync_consumer_lag", "Messages not yet applied.", labels=["group", "worker"])
    bounds = [*map(str, BOUNDS), "+Inf"]
    for worker in alive:
        delivered.add_metric([worker.kind, worker.id], worker.delivered)
        counts = accumulate(total([worker.lags.get("ever", ())]))
        buckets = list(zip(bounds, counts, strict=True))
        lag.add_metric([worker.kind, worker.id], buckets, worker.lags.get("seconds", 0.0))
        if worker.kind == CONSUMER:
            behind.add_metric([worker.queue, worker.id], worker.lags.get("messages", 0))
    yield delivered
    yield lag
    yield behind


def _of_routes(now: Status) -> Iterator[Metric]:
    labels = ["route"]
    up = GaugeMetricFamily("sync_route_up", "1 while a worker runs the route.", labels=labels)
    paused = GaugeMetricFamily("sync_route_paused", "1 while the route is paused.", labels=labels)
    meaning = "Seconds that the route's target is behind its source; absent while unknown."
    lag = GaugeMetricFamily("sync_route_lag_seconds", meaning, labels=labels)
    for route in now.routes:
        up.add_metric([route.name], route.alive)
        paused.add_metric([route.name], route.paused)
        if route.lag is not None:
            lag.add_metric([route.name], route.lag)
    yield up
    yield paused
    yield lag


def _of_pulls() -> Iterator[Metric]:
    found = DeadLetter.objects.using(DEFAULT_DB_ALIAS).values_list("model").annotate(Count("pk")).order_by("model")
    numbers = dict.fromkeys(map(label, pulled_models()), 0) | dict(found)
    meaning = "Documents that a pull cannot store, because they do not fit their model."
    dead_letters = GaugeMetricFamily("sync_pull_dead_letters", meaning, labels=["model"])
    for model, number in numbers.items():
        dead_letters.add_metric([model], number)
    yield dead_letters


def _of_binary_log(log: BinaryLog | None) -> Iterator[Metric]:
    """Nothing if no follower has saved a position."""
    if log is None:
        return
    yield GaugeMetricFamily(
        "sync_binlog_files_before", "Binary log files older than the one in which the follower continues.", log.before
    )
    yield GaugeMetricFamily(
        "sync_binlog_files_after", "Binary log files newer than the one in which the follower continues.", log.after
    )
    if log.kept_for:
        meaning = "Seconds after which the server purges a binary log file; absent if it never does."
        yield GaugeMetricFamily("sync_binlog_expire_seconds", meaning, log.kept_for)
