"""Which targets are not to be delivered now, as every save asks."""

from __future__ import annotations

import time

from sync.workers.models import ModelState

PAUSE_AGE = 1.0  # seconds for which inline delivery believes what it knows of pauses


class PauseCache:
    """The labels of the paused targets, asked for at most once in PAUSE_AGE seconds: every save wants to know."""

    def __init__(self) -> None:
        self.asked_at = float("-inf")
        self.models: frozenset[str] = frozenset()

    def __call__(self, using: str) -> frozenset[str]:
        if time.monotonic() - self.asked_at > PAUSE_AGE:
            self.models = ModelState.objects.paused(using)
            self.asked_at = time.monotonic()
        return self.models


PAUSED = PauseCache()
