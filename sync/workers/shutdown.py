"""Stopping a worker with a signal or from another thread."""

from __future__ import annotations

import select
import signal
import socket
import weakref
from typing import Any


class StopEvent:
    """Like threading.Event, but safe to set in a signal handler, and `wait` can also wait for sockets.

    `Event.set` takes a lock that `Event.wait` holds for a moment. A handler runs in the main thread, so a signal in
    that moment would deadlock. A byte in a socket needs no lock, and stays there for all threads that wait.

    parent: an event that sets this one, too. signal: the name of the signal that set it; "" if none did.
    """

    def __init__(self, parent: StopEvent | None = None) -> None:
        self._parent = parent
        self._is_set = False
        self.signal = ""
        self._read, self._write = socket.socketpair()
        for end in (self._read, self._write):
            weakref.finalize(self, end.close)

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            self._write.send(b".")

    def is_set(self) -> bool:
        return self._is_set or (self._parent is not None and self._parent.is_set())

    def wait(self, seconds: float | None = None, *sockets: socket.socket) -> bool:
        """Waits until the event is set or a socket can be read, at most for `seconds`. Returns whether it is set."""
        if not self.is_set():
            poll = select.poll()  # one system call, where a selector takes six
            for each in (*self._ends(), *sockets):
                poll.register(each, select.POLLIN)
            poll.poll(None if seconds is None else seconds * 1000)
        return self.is_set()

    def _ends(self) -> list[socket.socket]:
        return [self._read, *(self._parent._ends() if self._parent else [])]


def stop_on_signals(stop: StopEvent) -> None:
    """Sets `stop` at the first SIGINT or SIGTERM. The second signal terminates the process."""

    def heard(number: int, frame: Any) -> None:
        stop.signal = signal.Signals(number).name
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # the second signal terminates at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, heard)
