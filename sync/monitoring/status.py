"""The status of the mirror. None means unknown, which is not zero."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import pymongo
from django.db import DEFAULT_DB_ALIAS
from django.utils.translation import gettext_noop
from pymongo.errors import PyMongoError

from sync.core.topology import Topology, topology
from sync.mapping.kinds import kind_of
from sync.mapping.registry import Target, all_rows, all_targets, label
from sync.mongodb.breaker import BREAKER
from sync.mongodb.client import collection, database
from sync.mongodb.errors import reason
from sync.monitoring import queries
from sync.monitoring.processes import ProcessStatus, processes
from sync.monitoring.queries import Unfinished, Verified, WorkerStatus
from sync.monitoring.routes import RouteStatus, routes
from sync.outbox.failures import Failures, failures
from sync.workers.lag import WINDOW, quantile, total

TIMEOUT = 2.0  # seconds for all queries to one MongoDB server
YOUNG = 5.0  # seconds until a pending change counts as lagging: longer than a relay takes to find and deliver it
STALLED = 10.0  # seconds until a pending change that no relay delivers counts as stalled

# Each state with its name, the most urgent first. The keys are those of `--json`.
TITLES = {
    "unreachable": gettext_noop("MongoDB unreachable"),
    "stalled": gettext_noop("Stalled"),
    "failing": gettext_noop("Failing"),
    "mismatched": gettext_noop("Mismatched"),
    "lagging": gettext_noop("Lagging"),
    "paused": gettext_noop("Paused"),
    "in_sync": gettext_noop("In sync"),
}

# Each state with its meaning for a visitor of the pages, which have a button for what can be done.
MEANS = {
    "unreachable": gettext_noop("Changes wait in MySQL until MongoDB is back."),
    "stalled": gettext_noop(
        "Changes are pending, but no worker delivers them. Start a relay (for Kafka: a publisher)."
    ),
    "failing": gettext_noop("Some changes failed. Fix the cause, then retry the failed changes."),
    "mismatched": gettext_noop("Verify found mismatches. Repair the models that have them."),
    "lagging": gettext_noop("Changes are waiting for delivery. If their number does not fall, start another relay."),
    "paused": gettext_noop("Delivery or a route is paused, and its changes wait until it is resumed."),
    "in_sync": gettext_noop("MongoDB has every committed change."),
}

# Each state with its meaning for an operator at a terminal.
WORDS = {
    "unreachable": gettext_noop(
        "MongoDB is unreachable or rejects writes. Changes wait in MySQL until it is available."
    ),
    "stalled": gettext_noop(
        "Changes are pending and no relay delivers them. Start one: manage.py sync relay (for Kafka: sync publish)."
    ),
    "failing": gettext_noop("Some changes failed. Fix the cause, then retry them: manage.py sync retry."),
    "mismatched": gettext_noop("Verify found mismatches. Repair them: manage.py sync verify --repair."),
    "lagging": gettext_noop("Changes are being delivered. If their number does not fall, start another relay."),
    "paused": gettext_noop("A target or route is paused and changes wait. Resume it: manage.py sync resume."),
    "in_sync": gettext_noop("MongoDB has every committed change."),
}

NEEDS_ATTENTION = frozenset({"unreachable", "stalled", "failing", "mismatched"})  # states that open an incident
LAGGING = "lagging"  # opens one when the oldest change is older than SYNC_ALERT_LAG


@dataclasses.dataclass(frozen=True)
class Counts:
    """The numbers of rows by model and of documents by target. The time to count grows with the numbers."""

    at: datetime.datetime
    rows: dict[str, int]
    documents: dict[str, int]


@dataclasses.dataclass
class ModelStatus:
    """The status of one model at one target. Durations are in seconds, points in time in UTC."""

    model: str  # the target's label
    queue: str  # the alias of its server; empty is MONGODB_URI's
    name: str
    rows: int | None  # None: the target was removed, and only its changes remain
    documents: int | None
    pending: int  # changes not yet delivered
    in_flight: int  # written inline and not confirmed yet, or claimed by a repair
    settling: int  # deletes that were delivered and will be delivered once more
    failed: int  # rows with a dead letter, whose reasons are in `failures`
    oldest_pending_age: float | None  # None: nothing is pending
    oldest_in_flight_age: float | None
    backfill: int  # ranges of rows that a backfill still has to deliver
    fan_outs: int  # rows whose changes still have to reach some of the documents that embed them
    oldest_backfill_age: (
        float | None
    )  # seconds that an unclaimed range or fan-out is due; None: none, or one is claimed
    paused: bool
    failures: list[Failures]
    mismatches: int | None  # keys found different and not yet found in sync; None: unknown, as no run has finished
    verified: Verified | None  # None: never
    unfinished: Unfinished | None  # a run that started after `verified`
    last_delivery: datetime.datetime | None

    @property
    def age(self) -> float:
        """Seconds for which the oldest change has waited to be delivered."""
        # A change in flight counts even when delivery is paused: a frozen relay may hold it without delivering it.
        return max(0.0 if self.paused else self.oldest_pending_age or 0.0, self.oldest_in_flight_age or 0.0)

    @property
    def waits(self) -> float:
        """Seconds for which the oldest change, range of a backfill or fan-out has waited to be delivered."""
        return max(self.age, 0.0 if self.paused else self.oldest_backfill_age or 0.0)


@dataclasses.dataclass
class Lag:
    """Seconds from commit to delivery, over the last `window` seconds. None: nothing was delivered."""

    p50: float | None
    p95: float | None
    p99: float | None
    delivered: int
    window: float


@dataclasses.dataclass
class Status:
    """The status of the whole mirror."""

    mongodb_up: bool
    mongodb_error: str
    breaker: str  # the state of this process's circuit breaker
    lag: Lag
    rate: float | None  # keys per second, of all workers; None: no worker is alive
    workers: list[WorkerStatus]
    routes: list[RouteStatus]
    models: list[ModelStatus]
    topology: Topology
    counted_at: datetime.datetime  # when rows and documents were counted

    @property
    def word(self) -> str:
        """The state as a key of WORDS."""
        paused, models = self._paused_routes, self._delivered_models
        # MongoDB may respond to this process and still reject the writes of a relay.
        rejecting = any(worker.delivers and worker.note.startswith("MongoDB") for worker in self.workers)
        if self.mongodb_error or (rejecting and self.pending):
            return "unreachable"
        if any(model.waits > STALLED and not self.delivering(model.queue) for model in models):
            return "stalled"
        if any(model.failed for model in self.models):
            return "failing"
        if any(model.mismatches for model in self.models):
            return "mismatched"
        if self.age > YOUNG or any(model.backfill or model.fan_outs for model in models if not model.paused):
            return "lagging"
        if any(model.pending or model.backfill or model.fan_outs for model in self.models if model.paused):
            return "paused"
        if paused:
            return "paused"
        return "in_sync"

    @property
    def age(self) -> float:
        """Seconds for which the oldest change has waited to be delivered, of all models that are not paused."""
        return max((model.age for model in self._delivered_models), default=0.0)

    @property
    def _paused_routes(self) -> set[str]:
        return {route.name for route in self.routes if route.paused}

    @property
    def _delivered_models(self) -> list[ModelStatus]:
        """The models without those of a paused route: their changes are neither lagging nor stalled."""
        return [model for model in self.models if kind_of(model.queue).route not in self._paused_routes]

    @property
    def relays(self) -> int:
        """The number of relay processes that deliver to MONGODB_URI's server."""
        return self.delivering("")

    def delivering(self, queue: str) -> int:
        """Return the number of processes that deliver this queue: relays, or the publisher for Kafka, if not stuck."""
        return len({worker.process for worker in self.workers if worker.queue == queue and worker.delivers})

    def stuck(self, queue: str) -> int:
        """Return the number of this queue's processes that have not finished a batch for a long time."""
        return len({worker.process for worker in self.workers if worker.queue == queue and worker.stuck})

    @property
    def processes(self) -> list[ProcessStatus]:
        """The processes of the workers."""
        return processes(self.workers)

    @property
    def queues(self) -> list[str]:
        """The queues that have models or changes, starting with "", the queue of MONGODB_URI's server."""
        return sorted({"", *(model.queue for model in self.models)})

    @property
    def pending(self) -> int:
        """The number of changes not yet delivered, of all models."""
        return sum(model.pending for model in self.models)

    @property
    def in_flight(self) -> int:
        """The number of changes being delivered, or delivered and not yet confirmed, of all models."""
        return sum(model.in_flight for model in self.models)

    @property
    def on_their_way(self) -> int:
        """The number of changes that MongoDB may not have permanently yet: pending or in flight."""
        return self.pending + self.in_flight

    @property
    def oldest_pending_age(self) -> float | None:
        """Seconds since the oldest pending change was recorded; None: nothing is pending."""
        return _oldest(self.models)

    def as_dict(self) -> dict[str, Any]:
        """Return the status as data for JSON."""
        sums = {name: getattr(self, name) for name in ("pending", "in_flight", "oldest_pending_age", "relays")}
        data = {"state": self.word, "means": WORDS[self.word], **sums, **dataclasses.asdict(self)}
        data["topology"] = self.topology.as_dict()
        for worker in data["workers"]:
            del worker["lags"]  # `lag` is their sum
        return data


def status(using: str = DEFAULT_DB_ALIAS, counts: Counts | None = None) -> Status:
    """Return the status of the mirror. An unreachable MongoDB is reported, not raised.

    counts: recent counts to use instead of counting rows and documents again.
    """
    documents, errors = _documents(count=counts is None)
    if counts is None:
        models_here = {label(target.model): target.model for target in all_targets()}
        rows = {name: all_rows(model, using).count() for name, model in models_here.items()}
        counts = Counts(datetime.datetime.now(datetime.UTC), rows, documents)
    models = _models(using, counts)
    workers = queries.workers(using)
    return Status(
        mongodb_up="" not in errors,
        mongodb_error="; ".join(f"{queue}: {error}" if queue else error for queue, error in errors.items()),
        breaker=BREAKER.state,
        lag=_lag(workers),
        rate=queries.rate(workers),
        workers=workers,
        routes=routes(workers, using),
        models=models,
        topology=topology(using),
        counted_at=counts.at,
    )


def _models(using: str, counts: Counts) -> list[ModelStatus]:
    """Return the status of each target, and of each former target that still has changes."""
    changes, reasons, states = queries.changes(using), failures(using), queries.states(using)
    verified, mismatches = queries.verified(using), queries.mismatches(using)
    unfinished = queries.unfinished(using)
    targets = {target.label: target for target in all_targets()}
    models = []
    for name in (*targets, *sorted(changes.keys() - targets.keys())):
        target, state = targets.get(name), states.get(name)
        models.append(
            ModelStatus(
                model=name,
                queue=target.queue if target else "",
                name=_name(target) if target else name,
                rows=counts.rows.get(label(target.model)) if target else None,
                documents=counts.documents.get(name),
                last_delivery=state.delivered_at if state else None,
                paused=bool(state and state.paused),
                failures=reasons.get(name, []),
                mismatches=mismatches.get(name, 0 if name in verified and name not in unfinished else None),
                verified=verified.get(name),
                unfinished=unfinished.get(name),
                **changes.get(name, queries.NO_CHANGES),
            )
        )
    return models


def counts_of(status: Status) -> Counts:
    """Return the counts of a status, for the next call of `status`."""
    rows = {_table(model): model.rows for model in status.models if model.rows is not None}
    documents = {model.model: model.documents for model in status.models if model.documents is not None}
    return Counts(status.counted_at, rows, documents)


def _table(model: ModelStatus) -> str:
    return model.model.partition("@")[0]


def _lag(workers: Sequence[WorkerStatus]) -> Lag:
    recent = total(worker.lags.get("recent", ()) for worker in workers if worker.alive)
    p50, p95, p99 = (quantile(recent, share) for share in (0.5, 0.95, 0.99))
    return Lag(p50, p95, p99, delivered=sum(recent), window=WINDOW)


def _oldest(models: Sequence[ModelStatus]) -> float | None:
    return max((age for model in models if (age := model.oldest_pending_age) is not None), default=None)


def _name(target: Target) -> str:
    plural = str(target.model._meta.verbose_name_plural)
    return f"{plural} at {target.name}" if target.name else plural


def _documents(count: bool) -> tuple[dict[str, int], dict[str, str]]:
    """Return the number of documents by target, if `count` is set, and the error of each unreachable server by queue.

    A count that takes too long is omitted; it is not an error.
    """
    documents: dict[str, int] = {}
    errors: dict[str, str] = {}
    by_queue: dict[str, list[Target]] = {"": []}
    for target in all_targets():
        if target.kind.readable:
            by_queue.setdefault(target.queue, []).append(target)
    for queue, targets in by_queue.items():
        try:
            with pymongo.timeout(TIMEOUT):
                database(queue).command("ping")
                found = {target.label: _count(target) for target in targets if count}
            documents |= {name: number for name, number in found.items() if number is not None}
        except PyMongoError as failure:
            errors[queue] = reason(failure)
    return documents, errors


def _count(target: Target) -> int | None:
    """Return the number of documents, or None if counting takes too long.

    The hint makes MongoDB count index entries instead of reading every document.
    """
    try:
        return collection(target).count_documents({}, hint="_id_")
    except PyMongoError as failure:
        if not failure.timeout:
            raise
    return None
