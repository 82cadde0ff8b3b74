"""Which targets are paused: every save needs to know."""

from __future__ import annotations

import time

from sync.workers.models import ModelState

PAUSE_AGE = 1.0  # seconds for which inline delivery uses its last answer


class PauseCache:
    """The labels of the paused targets, queried at most once in PAUSE_AGE seconds."""

    def __init__(self) -> None:
        self.asked_at = float("-inf")
        self.models: frozenset[str] = frozenset()

    def __call__(self, using: str) -> frozenset[str]:
        if time.monotonic() - self.asked_at > PAUSE_AGE:
            self.models = ModelState.objects.paused(using)
            self.asked_at = time.monotonic()
        return self.models


PAUSED = PauseCache()
