"""Going on after what the database has ended: a deadlock's victim, a lost connection."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connections

P = ParamSpec("P")
R = TypeVar("R")

DEADLOCK = 1213
TRIES = 5
LONGEST_STATEMENT = 300  # seconds without an answer, before a connection counts as dead


def retry_on_deadlock(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator for what is one transaction, or one statement outside of any: a deadlock's victim does it again.

    The database ends one of two transactions that wait for each other. That one has done nothing.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(TRIES - 1):
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                if not error.args or error.args[0] != DEADLOCK:
                    raise
        return function(*args, **kwargs)

    return call


def bound_statements(using: str) -> None:
    """Lets a statement of this process fail where MySQL does not respond it in time; call it before connecting.

    A connection whose other end has gone without a word, with a machine's power or a firewall's memory, would else be
    waited on until the kernel gives it up: two hours by default.
    """
    if connections[using].vendor == "mysql":
        options = connections.settings[using]["OPTIONS"]
        options.setdefault("read_timeout", LONGEST_STATEMENT)
        options.setdefault("write_timeout", LONGEST_STATEMENT)


def forget_connection(using: str) -> None:
    """Lets this thread make a new connection, whatever state an error has left the old one in.

    One that is lost when a transaction ends, and used again, stays in a transaction that is none: Django closes it no
    more, and opens no other in its place.
    """
    with suppress(Exception):
        connections[using].connection.close()
    del connections[using]
