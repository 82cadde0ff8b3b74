"""The status of routes: whether a process works on each, how far it is behind, and whether it is paused."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.utils.translation import gettext as _

from sync.core.clock import DatabaseNow
from sync.mapping.registry import label, published
from sync.monitoring.queries import WorkerStatus
from sync.replication.pulled import pulled_models
from sync.workers.models import Checkpoint
from sync.workers.routes import Route


@dataclasses.dataclass
class RouteStatus:
    """One long-running route: pull, copy, follow-binlog, publish or consume."""

    name: str  # the name of its checkpoint, such as pull:finance.sale
    kind: str  # one of workers.routes.Route
    alive: bool  # whether a process works on it
    holder: str  # the processes that work on it
    lag: float | None  # seconds that the target is behind the source; None: unknown
    in_sync_at: datetime.datetime | None  # when the target was last up to date
    paused: bool


def routes(workers: Sequence[WorkerStatus], using: str = DEFAULT_DB_ALIAS) -> list[RouteStatus]:
    """Return the routes that a process has worked on or an operator has paused. Takes one query."""
    told: dict[str, list[tuple[str, float | None]]] = {}
    for worker in workers:
        for name, behind in worker.lags.get("routes", {}).items() if worker.alive else ():
            told.setdefault(name, []).append((f"process {worker.pid} on {worker.host}", behind))
    rows = Checkpoint.objects.using(using).annotate(now=DatabaseNow()).order_by("name")
    return [_route(row, told.get(row.name, [])) for row in rows]


def _route(row: Any, told: list[tuple[str, float | None]]) -> RouteStatus:
    known = [behind for _, behind in told if behind is not None]
    if known:
        lag: float | None = max(known)
    elif row.in_sync_at:
        lag = max((row.now - row.in_sync_at).total_seconds(), 0.0)
    else:
        lag = None
    return RouteStatus(
        name=row.name,
        kind=row.name.partition(":")[0],
        alive=bool(told),
        holder=", ".join(holder for holder, _ in told),
        lag=lag,
        in_sync_at=row.in_sync_at,
        paused=row.paused,
    )


def chosen_routes(names: Sequence[str], using: str = DEFAULT_DB_ALIAS) -> tuple[list[str], list[str]]:
    """Split names into (names of routes, other names).

    A kind stands for all its routes, and `pull:sale` for `pull:finance.sale`. A name that only looks like a route's is
    one of the other names.
    """
    known = known_routes(using)
    found: dict[str, None] = {}
    others = []
    for name in names:
        matching = [each for each in known if name in (each, each.partition(":")[0], _short(each))]
        found |= dict.fromkeys(matching)
        if not matching:
            others.append(name)
    return list(found), others


def known_routes(using: str = DEFAULT_DB_ALIAS) -> list[str]:
    """Return the names of all routes that have a checkpoint or are declared."""
    return sorted({*Checkpoint.objects.using(using).values_list("name", flat=True), *_declared()})


def set_route_paused(name: str, *, paused: bool, using: str = DEFAULT_DB_ALIAS) -> str:
    """Pause or resume a route and return a message about it. A batch in flight is finished."""
    if Checkpoint.objects.set_paused(name, using, paused=paused):
        return (_("%s is paused.") if paused else _("%s is resumed.")) % name
    return (_("%s was already paused.") if paused else _("%s was not paused.")) % name


def _declared() -> set[str]:
    """Return the routes that settings and models declare, whether or not a process has worked on them."""
    return {
        Route.FOLLOW_BINLOG,
        *(Route.PULL.of(label(model)) for model in pulled_models()),
        *([Route.PUBLISH] if published() else []),
    }


def _short(name: str) -> str:
    """Return `pull:finance.sale` as `pull:sale`; other names unchanged."""
    kind, _, what = name.partition(":")
    return f"{kind}:{what.rpartition('.')[2]}" if kind == Route.PULL else name
