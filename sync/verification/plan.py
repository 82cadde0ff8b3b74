"""What a repair of one target would change, by the mismatches that verify has found."""

from __future__ import annotations

from typing import NamedTuple

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count

from sync.verification.models import Mismatch, Verification

SHOWN = 10


class Plan(NamedTuple):
    """Numbers of documents that a repair writes again, that it deletes if asked to, and that it cannot repair.

    verified: the finished verification that found them. first: SHOWN of the mismatches.
    """

    verified: Verification
    write: int
    delete: int
    unmappable: int
    first: list[Mismatch]

    @property
    def more(self) -> int:
        """The number of the other mismatches."""
        return self.write + self.delete + self.unmappable - len(self.first)


def plan(label: str, using: str = DEFAULT_DB_ALIAS) -> Plan | None:
    """Return the plan; None if no verification has finished, or if a newer one has not: its result is unknown."""
    newest = Verification.objects.using(using).filter(model=label).order_by("-id").first()
    if newest is None or newest.finished_at is None:
        return None
    found = Mismatch.objects.using(using).filter(model=label)
    kinds = dict(found.values_list("kind").annotate(Count("id")))
    delete, unmappable = kinds.pop("extra", 0), kinds.pop("unmappable", 0)
    return Plan(newest, sum(kinds.values()), delete, unmappable, list(found.order_by("key")[:SHOWN]))
