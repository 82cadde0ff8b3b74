"""What the mirror knows of its own state. None means unknown, which is not zero."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import pymongo
from django.db import DEFAULT_DB_ALIAS
from django.utils.translation import gettext_noop
from pymongo.errors import PyMongoError

from sync.mapping.kinds import kind_of
from sync.mapping.registry import Target, all_rows, all_targets, label
from sync.mongodb.breaker import BREAKER
from sync.mongodb.client import collection, database
from sync.mongodb.errors import reason
from sync.monitoring import queries
from sync.monitoring.queries import Unfinished, Verified, WorkerStatus
from sync.monitoring.routes import RouteStatus, routes
from sync.outbox.failures import Failures, failures
from sync.workers.lag import WINDOW, quantile, total

TIMEOUT = 2.0  # seconds for all of MongoDB's part
YOUNG = 5.0  # seconds for which a pending change is on its way: longer than relays take to look and to finish
STALLED = 10.0  # seconds after which a pending change without a relay to take it is stalled

# Each word, and what it means to a person: the most urgent first.
WORDS = {
    "waiting": gettext_noop("MongoDB is unreachable. Changes wait in MySQL until it is back."),
    "stalled": gettext_noop(
        "Changes are pending and no relay delivers them. Start one: manage.py sync relay (for Kafka: sync publish)."
    ),
    "failing": gettext_noop("Some changes failed. Fix the cause, then retry them: manage.py sync retry."),
    "differing": gettext_noop("Verify found mismatches. Repair them: manage.py sync verify --repair."),
    "behind": gettext_noop("Changes are waiting for delivery. If their number does not fall, start another relay."),
    "paused": gettext_noop("A target or route is paused and changes wait. Resume it: manage.py sync resume."),
    "equal": gettext_noop("MongoDB has every committed change."),
}


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many rows and documents there were, by model and by target. To count takes as long as there are many."""

    at: datetime.datetime
    rows: dict[str, int]
    documents: dict[str, int]


@dataclasses.dataclass
class ModelStatus:
    """One model at one target. Times are seconds or UTC."""

    model: str  # the target's label
    queue: str  # the alias of its server; empty is MONGODB_URI's
    name: str
    rows: int | None  # None: the target is gone, and only changes are left of it
    documents: int | None
    pending: int  # changes not yet delivered
    in_flight: int  # claimed by a relay, or written inline and not confirmed yet
    settling: int  # deletes that are delivered and will be once more
    failed: int  # dead letters, with their reasons
    oldest_pending_age: float | None  # None: nothing is pending
    oldest_in_flight_age: float | None
    backfill: int  # ranges of rows that a backfill has still to deliver
    oldest_backfill_age: float | None  # since when a range was due and is not taken; None: all wait, or one is taken
    paused: bool
    failures: list[Failures]
    mismatches: int | None  # keys found different and not yet equal; None: no finished run says that there is none
    verified: Verified | None  # None: never
    unfinished: Unfinished | None  # a run after that
    last_delivery: datetime.datetime | None

    @property
    def age(self) -> float:
        """Seconds for which the oldest change has waited for somebody to deliver it."""
        # What is in flight counts by its age alone: a relay that is frozen holds it, and does nothing.
        return max(0.0 if self.paused else self.oldest_pending_age or 0.0, self.oldest_in_flight_age or 0.0)

    @property
    def waits(self) -> float:
        """The same, of changes and of the ranges of a backfill."""
        return max(self.age, 0.0 if self.paused else self.oldest_backfill_age or 0.0)


@dataclasses.dataclass
class Lag:
    """From commit to delivery in seconds, over the last `window` seconds. None: nothing was delivered."""

    p50: float | None
    p95: float | None
    p99: float | None
    delivered: int
    window: float


@dataclasses.dataclass
class Status:
    """The mirror as a whole."""

    mongodb_up: bool
    mongodb_error: str
    breaker: str  # this process's
    lag: Lag
    rate: float | None  # keys a second, of all workers; None: there is none
    workers: list[WorkerStatus]
    routes: list[RouteStatus]
    models: list[ModelStatus]
    counted_at: datetime.datetime  # when rows and documents were

    @property
    def word(self) -> str:
        """The state in one word, a key of WORDS."""
        # While publishing is paused as a route, what waits for it is neither late nor stalled.
        paused = {route.name for route in self.routes if route.paused}
        models = [model for model in self.models if kind_of(model.queue).route not in paused]
        oldest = max((model.age for model in models), default=0.0)
        # It may answer us, and refuse what a relay wants of it.
        refused = any(worker.delivers and worker.note.startswith("MongoDB") for worker in self.workers)
        if self.mongodb_error or (refused and self.pending):
            return "waiting"
        if any(model.waits > STALLED and not self.delivering(model.queue) for model in models):
            return "stalled"
        if any(model.failed for model in self.models):
            return "failing"
        if any(model.mismatches for model in self.models):
            return "differing"
        if oldest > YOUNG or any(model.backfill for model in models if not model.paused):
            return "behind"
        if any(model.pending or model.backfill for model in self.models if model.paused):
            return "paused"
        if paused:
            return "paused"
        return "equal"

    @property
    def relays(self) -> int:
        """How many relays deliver to MONGODB_URI's server."""
        return self.delivering("")

    def delivering(self, queue: str) -> int:
        """How many workers take the changes of this queue: a relay, or a publisher for Kafka, that is not stuck."""
        return sum(worker.delivers for worker in self.workers if worker.queue == queue)

    def stuck(self, queue: str) -> int:
        """How many would, and have not finished a batch for long."""
        return sum(worker.stuck for worker in self.workers if worker.queue == queue)

    @property
    def queues(self) -> list[str]:
        """The servers that there are models or changes for; "" first, which is MONGODB_URI's."""
        return sorted({"", *(model.queue for model in self.models)})

    @property
    def pending(self) -> int:
        """Changes not yet delivered, of all models."""
        return sum(model.pending for model in self.models)

    @property
    def in_flight(self) -> int:
        """Changes that somebody is delivering, or that are delivered and not confirmed yet, of all models."""
        return sum(model.in_flight for model in self.models)

    @property
    def on_their_way(self) -> int:
        """Changes that MongoDB may not have for good yet."""
        return self.pending + self.in_flight

    @property
    def oldest_pending_age(self) -> float | None:
        """Seconds; None: nothing is pending."""
        return _oldest(self.models)

    def as_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        sums = {name: getattr(self, name) for name in ("pending", "in_flight", "oldest_pending_age", "relays")}
        data = {"state": self.word, "means": WORDS[self.word], **sums, **dataclasses.asdict(self)}
        for worker in data["workers"]:
            del worker["lags"]  # `lag` is their sum
        return data


def status(using: str = DEFAULT_DB_ALIAS, counts: Counts | None = None) -> Status:
    """Both databases' counts, and what is pending. MongoDB's absence is reported, not raised.

    counts: those of a moment ago, to be taken for the present ones.
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
        counted_at=counts.at,
    )


def _models(using: str, counts: Counts) -> list[ModelStatus]:
    """Each target, and what has changes and is a target no more."""
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
    """What was counted for it, to be given to the next one."""
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
    """By target how many documents there are, if they are to be counted; by queue why a server does not serve.

    A count that takes too long is unknown, and no failure.
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
    """By the index: without the hint MongoDB reads every document to count it. None: that took too long."""
    try:
        return collection(target).count_documents({}, hint="_id_")
    except PyMongoError as failure:
        if not failure.timeout:
            raise
    return None
