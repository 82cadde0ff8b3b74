"""Recovery from what the database ended: the victim of a deadlock, a lost connection."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connections

P = ParamSpec("P")
R = TypeVar("R")

DEADLOCK = 1213
BUSY = ("SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT")  # SQLite's deadlocks are among them: it does not tell them apart
TRIES = 5
LONGEST_PAUSE = 0.05  # seconds before the next try, so that the other transaction can end
LONGEST_STATEMENT = 300  # seconds without a response before a connection counts as dead


def retry_on_deadlock(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator for one transaction, or one statement outside any: repeats it if it was the victim of a deadlock.

    The database aborts one of two transactions that wait for each other, and that one has had no effect.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(TRIES - 1):
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                if not _is_deadlock(error):
                    raise
            time.sleep(random.uniform(0, LONGEST_PAUSE))  # noqa: S311 (nothing secret)
        return function(*args, **kwargs)

    return call


def _is_deadlock(error: OperationalError) -> bool:
    return error.args[:1] == (DEADLOCK,) or getattr(error.__cause__, "sqlite_errorname", "") in BUSY


def bound_statements(using: str) -> None:
    """Makes a statement of this process fail if MySQL does not respond to it in time. Call it before connecting.

    Otherwise a connection whose other end vanished without closing it, in a power cut or a firewall's restart, would
    wait until the kernel gives up: two hours by default.
    """
    if connections[using].vendor == "mysql":
        options = connections.settings[using]["OPTIONS"]
        options.setdefault("read_timeout", LONGEST_STATEMENT)
        options.setdefault("write_timeout", LONGEST_STATEMENT)


def forget_connection(using: str) -> None:
    """Lets this thread open a new connection, whatever state an error has left the old one in.

    Django does not close a connection that is lost at the end of a transaction and used again, and opens no other in
    its place.
    """
    with suppress(Exception):
        connections[using].connection.close()
    del connections[using]
