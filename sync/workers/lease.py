"""Leases: one process at a time works on a checkpoint. A process that has lost the lease cannot write.

The protocol, modelled in sync/tests/support/checkpoint_model.py:

1. A worker takes the lease, then loads the checkpoint's state. It never uses a state that it loaded before.
2. The worker writes data and the new state in one transaction, which extends the lease and succeeds only while the
   checkpoint names this worker. A worker that was frozen past its lease finds another owner there and writes nothing.
3. A worker can take a lease that has expired, or, at once, the lease of a process of this machine that has exited.
4. While the route is paused, step 2 fails as well. The checkpoint does not move, and the route continues from it.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from sync.mapping.fields import new_object_id
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)

LOOK = 0.2  # seconds between two tries to take a lease that another process holds
STAND_BY = 1.0  # the same, while the other process is known to be alive


class Busy(Exception):
    """Another process holds the lease of this checkpoint. The message names it."""


class LeaseLost(Exception):
    """Another process took over the checkpoint. The message names the route."""


class Paused(Exception):
    """An operator has paused the route. The message says how to resume it."""

    def __init__(self, route: str) -> None:
        super().__init__(f"{route} is paused. Resume it: manage.py sync resume {route}")


class Held(NamedTuple):
    """A lease that another worker holds. holder: how messages name that worker."""

    owner: str
    holder: str
    leased_until: datetime.datetime


class Leased(Protocol):
    """A checkpoint in its store. name: how messages name it."""

    name: str

    def take(self) -> Held | None:
        """Takes the lease if it is free or expired, or if its holder is dead. Returns None, or who holds the lease."""

    def release(self) -> None:
        """Releases the lease, if this worker still holds it."""


def acquire(store: Leased, stop: StopEvent, *, stand_by: bool = False) -> None:
    """Takes the lease, or waits until the lease of another worker expires.

    stand_by: waits as long as that worker extends its lease, or until `stop` is set. Otherwise raises Busy then.
    """
    seen = None
    while (held := store.take()) is not None and not stop.is_set():
        if seen is None:
            seen = held.leased_until
            doing = "Standing by" if stand_by else "Checking whether that process is alive"
            logger.info("%s is held by %s. %s.", store.name, held.holder, doing)
        elif held.leased_until != seen and not stand_by:
            raise Busy(f"{store.name} is held by another process: {held.holder}.")
        stop.wait(STAND_BY if stand_by else LOOK)


def new_owner() -> str:
    """Returns a unique name for a new holder, which includes its process id and machine (see `is_dead`)."""
    return f"{new_object_id()} {os.getpid()} {_machine()}"


def holder() -> str:
    """Returns how messages name this process."""
    return f"process {os.getpid()} on {socket.gethostname()[:80]}"


def is_dead(owner: str) -> bool:
    """Returns whether the holder has certainly exited: it ran in this boot and process namespace, and is gone."""
    _, _, process = owner.partition(" ")
    pid, _, machine = process.partition(" ")
    if not pid.isdigit() or not machine or machine != _machine():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


@functools.cache
def _machine() -> str:
    """Returns 16 hex digits that two processes share only if each can see the other's id; "" if that is unknown."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return hashlib.sha256(f"{boot} {Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:16]
    return ""
