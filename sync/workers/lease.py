"""A lease: one process at a time works on a checkpoint, and one that has lost the lease learns it when it writes.

The protocol, modelled in sync/tests/support/checkpoint_model.py:

1. A worker takes the lease, then loads the checkpoint's state, and never uses a state that it loaded before.
2. What it writes and the new state are one transaction, which succeeds only while the checkpoint names this worker, and
which extends the lease. A worker that was frozen for longer finds another's name there, and has written nothing.
3. A lease that is not extended can be taken when it has expired. The lease of a process that ended on this machine can
be taken at once.
4. While the route is paused, step 2 fails as well. The checkpoint stays unchanged, and the route continues from it.
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

LOOK = 0.2  # seconds between two checks of a lease that another process holds


class Busy(Exception):
    """Another process works on this checkpoint. The message names it."""


class LeaseLost(Exception):
    """Another process has taken over. The message is one line."""


class Paused(Exception):
    """An operator has paused the route. The message says how to resume it."""

    def __init__(self, route: str) -> None:
        super().__init__(f"{route} is paused. Resume it: manage.py sync resume {route}")


class Held(NamedTuple):
    """Another process's lease. holder: its readable name."""

    owner: str
    holder: str
    leased_until: datetime.datetime


class Leased(Protocol):
    """A checkpoint in its store. name: a readable name."""

    name: str

    def take(self) -> Held | None:
        """Takes the lease if it is free or expired, or its holder is dead. Returns None if it is this process's now."""

    def release(self) -> None:
        """Releases the lease if this process still holds it."""


def acquire(store: Leased, stop: StopEvent) -> None:
    """Takes the lease, waiting for one that is not extended to expire. Raises Busy if it is extended."""
    seen = None
    while (held := store.take()) is not None and not stop.is_set():
        if seen is None:
            seen = held.leased_until
            logger.info("%s is held by %s. Checking whether that process is alive.", store.name, held.holder)
        elif held.leased_until != seen:
            raise Busy(f"{store.name} is held by another process: {held.holder}.")
        stop.wait(LOOK)


def new_owner() -> str:
    """A name for a new holder that also identifies the process on this machine."""
    return f"{new_object_id()} {os.getpid()} {_machine()}"


def holder() -> str:
    """The readable name of this process."""
    return f"process {os.getpid()} on {socket.gethostname()[:80]}"


def is_dead(owner: str) -> bool:
    """Whether the holder is known to be dead: a process of this boot and process namespace that does not exist."""
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
    """16 hex digits that two processes share only if one can see the other's id; empty if that is unknown."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return hashlib.sha256(f"{boot} {Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:16]
    return ""
