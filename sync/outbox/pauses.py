"""Which targets are paused: every save and every look of a relay needs to know."""

from __future__ import annotations

import time

from sync.workers.models import ModelState

PAUSE_AGE = 1.0  # seconds for which a process uses its last answer


class PauseCache:
    """The labels of the paused targets, queried at most once in PAUSE_AGE seconds."""

    def __init__(self) -> None:
        self.forget()
        self.models: frozenset[str] = frozenset()

    def forget(self) -> None:
        """The next call queries the database."""
        self.asked_at = float("-inf")

    def __call__(self, using: str) -> frozenset[str]:
        if time.monotonic() - self.asked_at > PAUSE_AGE:
            self.models = ModelState.objects.paused(using)
            self.asked_at = time.monotonic()
        return self.models


PAUSED = PauseCache()
