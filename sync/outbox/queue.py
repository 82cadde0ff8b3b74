"""Step 1 of delivery: claiming changes, and which models are not to be delivered now."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import timedelta

from django.db import connections, transaction

from sync.core import conf
from sync.core.clock import DatabaseNow
from sync.core.retry import tried_again
from sync.outbox.models import Change, Claimed, ModelState

PAUSE_AGE = 1.0  # seconds for which inline delivery believes what it knows of pauses


@tried_again
def claim(
    limit: int, token: str, using: str, lane: str = "", *, ranges: bool = False, models: Collection[str] = ()
) -> list[Claimed]:
    """Claims up to `limit` changes of a lane that are due, oldest first, for one lease: of keys, or of ranges.

    What is returned has in `claim` who held it before.

    token: who claims. "" reads them and claims nothing, for one that is alone in its lane (writes.Writer.is_alone).
    models: only of these (labels); all but the paused ones when empty.
    """
    due = Change.objects.using(using).filter(lane=lane, failed=False, due_at__lte=DatabaseNow()).order_by("due_at")
    due = due.exclude(until="") if ranges else due.filter(until="")
    due = due.filter(model__in=models) if models else due.exclude(model__in=paused_models(using))
    if not token:
        changes = [Claimed(*row) for row in due.values_list(*Claimed._fields[:-1])[:limit]]  # all but due_at
        if left := [change.pk for change in changes if change.claim]:  # by one that did claim, and is gone
            Change.objects.using(using).filter(pk__in=left).update(claim="")
        return [change._replace(claim="") for change in changes] if left else changes
    with transaction.atomic(using):
        skip = connections[using].features.has_select_for_update_skip_locked
        columns = due.select_for_update(skip_locked=skip).values_list(*Claimed._fields)
        changes = [Claimed(*row) for row in columns[:limit]]
        if changes:
            mine = Change.objects.using(using).filter(pk__in=[change.pk for change in changes])
            mine.update(claim=token, due_at=DatabaseNow() + timedelta(seconds=conf.LEASE))
    return changes


def paused_models(using: str) -> frozenset[str]:
    """The labels of the models whose delivery is paused."""
    return frozenset(ModelState.objects.using(using).filter(paused=True).values_list("model", flat=True))


class PauseCache:
    """`paused_models`, asked for at most once in PAUSE_AGE seconds: every save wants to know."""

    def __init__(self) -> None:
        self.asked_at = float("-inf")
        self.models: frozenset[str] = frozenset()

    def __call__(self, using: str) -> frozenset[str]:
        if time.monotonic() - self.asked_at > PAUSE_AGE:
            self.models = paused_models(using)
            self.asked_at = time.monotonic()
        return self.models


PAUSED = PauseCache()
