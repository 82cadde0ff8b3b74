"""What a repair of one target would change, by the mismatches that verify has found."""

from __future__ import annotations

from typing import NamedTuple

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count

from sync.verification.models import Mismatch, Verification


class Plan(NamedTuple):
    """Numbers of documents that a repair writes again, that it deletes if asked to, and that it cannot repair.

    verified: the finished verification that found them.
    """

    verified: Verification
    write: int
    delete: int
    unmappable: int


def plan(label: str, using: str = DEFAULT_DB_ALIAS) -> Plan | None:
    """Return the plan; None if no verification has finished, or if a newer one has not: its result is unknown."""
    newest = Verification.objects.using(using).filter(model=label).order_by("-id").first()
    if newest is None or newest.finished_at is None:
        return None
    groups = Mismatch.objects.using(using).filter(model=label).values_list("kind").annotate(Count("id"))
    kinds = dict(groups.order_by())
    delete, unmappable = kinds.pop("extra", 0), kinds.pop("unmappable", 0)
    return Plan(newest, sum(kinds.values()), delete, unmappable)
