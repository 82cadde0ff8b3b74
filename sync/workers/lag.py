"""Lag from commit to delivery, counted in buckets, so that the counts of many processes can be added up."""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sync.core.clock import extrapolated_now

if TYPE_CHECKING:
    from sync.outbox.models import Taken

# Upper bounds in seconds, from a millisecond to an hour. One more bucket counts longer lags.
BOUNDS = (*(float(f"{digit}e{power}") for power in range(-3, 3) for digit in (1, 2, 5)), 1000.0, 2000.0, 3600.0)
WINDOW = 300.0  # seconds that "recent" means
SLOT = 30.0  # seconds: the window moves in steps of this length


def no_lags() -> list[int]:
    """Returns a count of zero for each bucket."""
    return [0] * (len(BOUNDS) + 1)


class LagHistogram:
    """The lags of one process: those of the last WINDOW seconds, and all since it started. Not thread-safe."""

    def __init__(self) -> None:
        self.slots: dict[int, list[int]] = {}
        self.ever = no_lags()
        self.seconds = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Counts `count` keys that were delivered `seconds` after their commit."""
        bucket = bisect.bisect_left(BOUNDS, seconds)
        slot = int(time.monotonic() / SLOT)
        if slot not in self.slots:
            self._forget_old(slot)
            self.slots[slot] = no_lags()
        self.slots[slot][bucket] += count
        self.ever[bucket] += count
        self.seconds += seconds * count

    def as_data(self) -> dict[str, Any]:
        """Returns the value of Worker.lags: counts per bucket in `recent` and `ever`, the sum of lags in `seconds`."""
        self._forget_old(int(time.monotonic() / SLOT))
        return {"recent": total(self.slots.values()), "ever": list(self.ever), "seconds": round(self.seconds, 6)}

    def _forget_old(self, slot: int) -> None:
        oldest = slot - int(WINDOW / SLOT)
        self.slots = {number: counts for number, counts in self.slots.items() if number > oldest}


def total(histograms: Iterable[Sequence[int]]) -> list[int]:
    """Returns the sum for each bucket. Skips histograms that another release counted with other bounds."""
    same = [counts for counts in histograms if len(counts) == len(BOUNDS) + 1]
    return [sum(counts) for counts in zip(no_lags(), *same, strict=True)]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Returns the bucket bound, in seconds, that `share` (0 to 1) of the lags do not exceed; None without any lags.

    The last bound, an hour, stands for "an hour or more".
    """
    enough = share * sum(counts)
    if not enough:
        return None
    so_far = 0
    for bound, count in zip(BOUNDS, counts, strict=False):
        so_far += count
        if so_far >= enough:
            return bound
    return BOUNDS[-1]


def ages(changes: Sequence[Taken], using: str) -> list[float]:
    """Returns the seconds since each change was recorded, by the database's clock."""
    if not changes:
        return []
    now = extrapolated_now(using)
    return [max((now - change.recorded_at).total_seconds(), 0.0) for change in changes]
