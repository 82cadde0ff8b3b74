"""The queries behind status. Each is one query, whatever the number of models and workers."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Max, Min, Q

from sync.core.clock import DatabaseNow, as_moment
from sync.core.compiled import Statement
from sync.outbox.models import Change, in_flight
from sync.verification.models import Mismatch, Verification
from sync.workers.heartbeat import BEAT, INLINE, INLINE_BEAT, RELAY, SILENCE, STUCK, Kind
from sync.workers.models import ModelState, Worker

NO_CHANGES: dict[str, Any] = {
    "pending": 0,
    "in_flight": 0,
    "settling": 0,
    "failed": 0,
    "backfill": 0,
    "fan_outs": 0,
    "oldest_pending_age": None,
    "oldest_in_flight_age": None,
    "oldest_backfill_age": None,
}
# A worker's rate covers the time before its heartbeat, and is ignored this many seconds after it.
RATE_AGE: dict[str, float] = {**dict.fromkeys(Kind, 3 * BEAT), INLINE: 3 * INLINE_BEAT}
# Seconds for which a silent worker is listed. A silent process with inline delivery is usually idle, not dead.
LISTED: dict[str, float] = {**dict.fromkeys(Kind, 600.0), INLINE: SILENCE[INLINE]}


@dataclasses.dataclass
class WorkerStatus:
    """The status of a worker: of a process, or of its part that delivers to one server."""

    id: str
    kind: str  # one of heartbeat.Kind
    host: str
    pid: int
    queue: str  # the alias of the server that it delivers to; empty is MONGODB_URI's
    alive: bool
    stuck: bool  # alive, but has not finished a batch for a long time
    delivers: bool  # delivers the pending changes of its queue, and is neither dead nor stuck
    heartbeat_age: float  # seconds
    started_at: datetime.datetime
    delivered: int  # keys, since it started
    rate: float | None  # keys per second before its last heartbeat; None if that is too old
    note: str  # what the worker is waiting for
    lags: dict[str, Any]  # as LagHistogram.as_data

    @property
    def process(self) -> tuple[str, str, int]:
        """What identifies its process."""
        return self.kind, self.host, self.pid


@dataclasses.dataclass
class Verified:
    """The last finished run of verify over a model."""

    finished_at: datetime.datetime
    mode: str
    compared: int
    found: int


@dataclasses.dataclass
class Unfinished:
    """The newest run of verify over a model, if unfinished. error: why it stopped; empty: running or killed."""

    started_at: datetime.datetime
    mode: str
    compared: int
    error: str


@functools.cache
def _changes(using: str) -> Statement:
    keys = Q(until="", failed=False)
    held, pending = (keys & Q(settling=False) & which for which in (in_flight(), ~in_flight()))
    ranges = ~Q(until="")
    return Statement.select(
        Change.objects.using(using)
        .values("model")
        .annotate(
            waiting=Count("id", filter=pending),
            held=Count("id", filter=held),
            deleted=Count("id", filter=keys & Q(settling=True)),
            dead=Count("key", filter=Q(failed=True), distinct=True),
            ranges=Count("id", filter=ranges & Q(via="")),
            fan_outs=Count("id", filter=~Q(via="")),
            oldest=Min("recorded_at", filter=pending),
            oldest_held=Min("recorded_at", filter=held),
            ranges_held=Count("id", filter=ranges & in_flight()),
            oldest_range=Min("due_at", filter=ranges & ~in_flight()),
            now=Max(DatabaseNow()),
        )
    )


def changes(using: str) -> dict[str, dict[str, Any]]:
    """Return, by model, the values of ModelStatus that are counted in the outbox."""
    found = {}
    for model, *counts, oldest, oldest_held, ranges_held, oldest_range, now in _changes(using).fetch():
        pending, in_flight, settling, failed, backfill, fan_outs = counts
        found[model] = {
            "pending": pending,
            "in_flight": in_flight,
            "settling": settling,
            "failed": failed,
            "backfill": backfill,
            "fan_outs": fan_outs,
            "oldest_pending_age": _age(now, oldest) if oldest else None,
            "oldest_in_flight_age": _age(now, oldest_held) if oldest_held else None,
            "oldest_backfill_age": _age(now, oldest_range) if oldest_range and not ranges_held else None,
        }
    return found


def states(using: str) -> dict[str, ModelState]:
    """Return, by model, whether it is paused and when it was last delivered."""
    return {state.model: state for state in ModelState.objects.using(using)}


def workers(using: str) -> list[WorkerStatus]:
    """Return all workers with a heartbeat, relays first. A dead worker is listed for some minutes."""
    rows = Worker.objects.using(using).annotate(now=DatabaseNow()).order_by("-kind", "started_at")
    found = [_worker(row, _age(row.now, row.heartbeat_at)) for row in rows]
    return [worker for worker in found if worker.heartbeat_age <= LISTED.get(worker.kind, LISTED[RELAY])]


def _worker(row: Worker, age: float) -> WorkerStatus:
    kind = Kind(row.kind) if row.kind in set(Kind) else None  # a kind of another release
    alive = age <= SILENCE.get(row.kind, SILENCE[RELAY])
    delivers = alive and kind is not None and kind.delivers_to(row.queue)
    stuck = delivers and (row.lags.get("batch") or 0) > STUCK
    return WorkerStatus(
        id=row.pk,
        kind=row.kind,
        host=row.host,
        pid=row.pid,
        queue=row.queue,
        alive=alive,
        stuck=stuck,
        delivers=delivers and not stuck,
        heartbeat_age=age,
        started_at=row.started_at,
        delivered=row.delivered,
        rate=row.rate if age <= RATE_AGE.get(row.kind, RATE_AGE[RELAY]) else None,
        note=row.note,
        lags=row.lags,
    )


def rate(workers: Sequence[WorkerStatus]) -> float | None:
    """Return the keys per second of all workers that are alive, or None if none is."""
    alive = [worker for worker in workers if worker.alive]
    return sum(worker.rate or 0.0 for worker in alive) if alive else None


@functools.cache
def _verified(using: str) -> Statement:
    finished = Verification.objects.using(using).filter(finished_at__isnull=False)
    last = finished.values("model").annotate(last=Max("id")).values("last")
    return Statement.select(
        finished.filter(id__in=last).values_list("model", "finished_at", "mode", "compared", "found")
    )


def verified(using: str) -> dict[str, Verified]:
    """Return each model's last finished run of verify, of either mode."""
    return {model: Verified(as_moment(at), *values) for model, at, *values in _verified(using).fetch()}


@functools.cache
def _unfinished(using: str) -> Statement:
    runs = Verification.objects.using(using)
    newest = runs.values("model").annotate(last=Max("id")).values("last")
    rows = runs.filter(id__in=newest, finished_at__isnull=True)
    return Statement.select(rows.values_list("model", "started_at", "mode", "compared", "error"))


def unfinished(using: str) -> dict[str, Unfinished]:
    """Return each model's newest run of verify if it is unfinished: the finished run before it is then outdated."""
    return {model: Unfinished(as_moment(at), *values) for model, at, *values in _unfinished(using).fetch()}


@functools.cache
def _mismatches(using: str) -> Statement:
    return Statement.select(Mismatch.objects.using(using).values("model").annotate(keys=Count("id")))


def mismatches(using: str) -> dict[str, int]:
    """Return the number of mismatches of each model."""
    return dict(_mismatches(using).fetch())


def _age(now: Any, then: Any) -> float:
    return max((as_moment(now) - as_moment(then)).total_seconds(), 0.0)
