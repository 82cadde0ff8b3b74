"""Being told to stop, by a signal or from another thread."""

from __future__ import annotations

import queue
import signal
from contextlib import suppress
from typing import Any


class StopEvent:
    """As threading.Event, but a signal handler may set it.

    An Event's `set` takes the lock that its `wait` holds for a moment. A handler runs in the main thread, so a signal
    that comes in that moment waits for itself, for ever. A SimpleQueue's `put` may interrupt its `get`.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        self._is_set = True
        self._bell.put(None)

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Until it is set, for so long at most; whether it is set."""
        if not self._is_set:
            with suppress(queue.Empty):
                self._bell.get(timeout=seconds)
                self._bell.put(None)  # for the others that wait
        return self._is_set


def stop_on_signals(stop: StopEvent) -> None:
    """Sets `stop` at the first SIGINT or SIGTERM; the second ends the process."""

    def heard(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # the second one stops at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, heard)
