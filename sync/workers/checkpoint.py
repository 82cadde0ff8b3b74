"""A checkpoint stored as a row of Checkpoint, for routes whose targets are tables of the same database."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.models import Q, QuerySet, Value

from sync.core import conf
from sync.core.clock import DatabaseNow
from sync.core.compiled import Statement
from sync.workers import lease
from sync.workers.lease import Held, LeaseLost, Paused
from sync.workers.models import Checkpoint

ROUTE, OWNER, STATE = "the route", "the owner", "the state"  # stand for these in the compiled statement


@functools.cache
def _save(using: str, seconds: float, in_sync: bool) -> Statement:
    rows = Checkpoint.objects.using(using).filter(name=ROUTE, owner=OWNER, paused=False)
    more = {"in_sync_at": DatabaseNow()} if in_sync else {}
    return Statement.update(rows, state=Value(STATE), leased_until=_lease_end(seconds), **more)


class TableCheckpoint:
    """One process's view of a route's checkpoint row. sync/workers/lease.py describes the protocol.

    route: the checkpoint's name. name: how messages name what the checkpoint belongs to.
    """

    def __init__(self, route: str, name: str, using: str) -> None:
        self.route = route
        self.name = name
        self.using = using
        self.owner = lease.new_owner()

    def take(self) -> Held | None:
        rows = Checkpoint.objects.using(self.using)
        row, _created = rows.get_or_create(name=self.route)
        free = Q(owner="") | Q(owner=self.owner) | Q(leased_until__lt=DatabaseNow())
        if lease.is_dead(row.owner):
            free |= Q(owner=row.owner)
        taken = {"owner": self.owner, "holder": lease.holder(), "leased_until": _lease_end(conf.LEASE)}
        if rows.filter(free, name=self.route).update(**taken):
            return None
        row.refresh_from_db(self.using)  # no router may choose a replica
        return Held(row.owner, row.holder, row.leased_until)

    def release(self) -> None:
        self._mine().update(owner="", holder="", leased_until=DatabaseNow())

    def load(self) -> dict[str, Any]:
        """Returns the state, {} before the first save. Raises LeaseLost."""
        row = self._mine().first()
        if row is None:
            raise self._lost()
        return dict(row.state)

    def save(self, state: dict[str, Any], *, in_sync: bool = False) -> None:
        """Saves the state and extends the lease. Raises LeaseLost and Paused.

        Call it first in the transaction that writes the data: its row lock makes a process that tries to take the
        lease wait until the transaction ends. in_sync: the target has every change of the source.
        """
        field: Any = Checkpoint._meta.get_field("state")
        stored = field.get_db_prep_value(state, connections[self.using])
        if not _save(self.using, conf.LEASE, in_sync).run({ROUTE: self.route, OWNER: self.owner, STATE: stored}):
            raise self._refused()

    def is_paused(self) -> bool:
        """Returns whether the route is paused. Extends the lease, which a paused route keeps. Raises LeaseLost."""
        if not self._mine().update(leased_until=_lease_end(conf.LEASE)):
            raise self._lost()
        return self._mine().filter(paused=True).exists()

    def require_running(self) -> None:
        """Raises Paused if the route is paused, and LeaseLost."""
        if self.is_paused():
            raise Paused(self.route)

    def _mine(self) -> QuerySet[Checkpoint]:
        return Checkpoint.objects.using(self.using).filter(name=self.route, owner=self.owner)

    def _refused(self) -> Exception:
        return Paused(self.route) if self._mine().filter(paused=True).exists() else self._lost()

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"{self.route}: another process took over, because this one did not renew its lease.")


def _lease_end(seconds: float) -> Any:
    return DatabaseNow() + timedelta(seconds=seconds)
