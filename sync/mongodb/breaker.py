"""The circuit breaker that keeps a dead MongoDB server from slowing saves."""

from __future__ import annotations

import threading
import time

from sync.core import conf


class Breaker:
    """Keeps inline delivery from waiting for a server that has just failed.

    A failure opens it for SYNC_BREAKER_RESET seconds; after that, one caller at a time may try.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.next_try: float | None = None

    @property
    def state(self) -> str:
        return "closed" if self.next_try is None else "open"

    def allows(self) -> bool:
        """Whether to try now. While open, returns True once per reset time."""
        if self.next_try is None:
            return True
        with self.lock:
            now = time.monotonic()
            if self.next_try is not None and now < self.next_try:
                return False
            self.next_try = now + conf.BREAKER_RESET
            return True

    def succeeded(self) -> None:
        self.next_try = None

    def failed(self) -> None:
        self.next_try = time.monotonic() + conf.BREAKER_RESET


BREAKER = Breaker()
