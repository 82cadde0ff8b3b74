"""A lease: one process at a time works on a checkpoint, and whoever has lost it is told so when it writes.

The protocol, modelled in sync/tests/support/checkpoint_model.py:

1. A worker takes the lease, then loads the checkpoint's state, and never uses one that it loaded before.
2. What it writes and the new state are one transaction, which succeeds only while the checkpoint names this worker, and
   extends the lease. A worker that was frozen for longer finds another's name there, and has written nothing.
3. A lease that nobody extends can be taken when it has expired, and that of a process which ended on this machine, at
   once.
4. While the route is paused, step 2 fails as well. The checkpoint stays where it is, and the route goes on from there.
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

LOOK = 0.2  # seconds between two looks at a lease that another process holds


class Busy(Exception):
    """Another process works on this checkpoint. Says which."""


class LeaseLost(Exception):
    """Another process has taken over. Says what, in one line."""


class Paused(Exception):
    """An operator has paused the route. Says so, and how to resume it."""

    def __init__(self, route: str) -> None:
        super().__init__(f"{route} is paused. Resume it: manage.py sync resume {route}")


class Held(NamedTuple):
    """Somebody else's lease. holder: what a person calls it."""

    owner: str
    holder: str
    leased_until: datetime.datetime


class Leased(Protocol):
    """A checkpoint in its store. name: what a person calls it."""

    name: str

    def take(self) -> Held | None:
        """Takes the lease where it is free, expired, or its holder dead; None when it is ours now."""

    def release(self) -> None:
        """Gives the lease back, if it is still ours."""


def acquire(store: Leased, stop: StopEvent) -> None:
    """Takes the lease, waiting for one that is not extended any more to expire. Raises Busy when it is extended."""
    seen = None
    while (held := store.take()) is not None and not stop.is_set():
        if seen is None:
            seen = held.leased_until
            logger.info("%s is held by %s. Checking whether that process is alive.", store.name, held.holder)
        elif held.leased_until != seen:
            raise Busy(f"{store.name} is held by another process: {held.holder}.")
        stop.wait(LOOK)


def new_owner() -> str:
    """A name for a new holder that also tells, on this machine, which process it is."""
    return f"{new_object_id()} {os.getpid()} {_machine()}"


def holder() -> str:
    """What a person calls this process."""
    return f"process {os.getpid()} on {socket.gethostname()[:80]}"


def is_dead(owner: str) -> bool:
    """Whether the holder is known to have ended: a process of this boot and process namespace that is not there."""
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
    """16 hex digits that two processes share only if one can see the other's id; empty where nothing tells."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return hashlib.sha256(f"{boot} {Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:16]
    return ""
