"""Stopping a worker with a signal or from another thread."""

from __future__ import annotations

import queue
import signal
from contextlib import suppress
from typing import Any


class StopEvent:
    """Like threading.Event, but safe to set in a signal handler.

    `Event.set` takes a lock that `Event.wait` holds for a moment. A handler runs in the main thread, so a signal in
    that moment would deadlock. `SimpleQueue.put` is reentrant: it may interrupt `SimpleQueue.get`.
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
        """Waits until the event is set, at most for `seconds`. Returns whether it is set."""
        if not self._is_set:
            with suppress(queue.Empty):
                self._bell.get(timeout=seconds)
                self._bell.put(None)  # wakes the next waiting thread
        return self._is_set


def stop_on_signals(stop: StopEvent) -> None:
    """Sets `stop` at the first SIGINT or SIGTERM. The second signal terminates the process."""

    def heard(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # the second signal terminates at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, heard)
