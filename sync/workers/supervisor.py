"""Runs several components of a worker process, each in a thread of its own, until the process is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from sync.mongodb.change_stream import NotFollowed
from sync.mongodb.privileges import NotPermitted
from sync.workers.bell import bell
from sync.workers.loop import OUTAGES, Loop
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)

# Their messages say what to do: they are logged without a traceback.
EXPLAINED = (*OUTAGES, ImproperlyConfigured, NotPermitted, NotFollowed)


class Component(NamedTuple):
    """A part of a process.

    step: a worker, which runs until it is stopped, or a task to repeat. Called again after it returns, and after it
    fails: its exception is logged, and no other component stops. every: seconds between two calls. bell: the queue
    whose bell ends this pause; None if it has no bell.
    """

    name: str
    step: Callable[[], object]
    every: float = 0.0
    bell: str | None = None


@contextmanager
def running(stop: StopEvent, *components: Component) -> Iterator[None]:
    """Runs the components in background threads until the block ends; then sets `stop` and waits for the threads."""
    threads = [threading.Thread(target=_run, args=[each, stop], name=each.name, daemon=True) for each in components]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _run(component: Component, stop: StopEvent) -> None:
    loop = Loop(
        stop, logger, prefix=f"{component.name}: ", interval=component.every, outages=EXPLAINED, endless=True,
        recover=lambda error: connections.close_all(),
    )  # fmt: skip
    try:
        with nullcontext() if component.bell is None else bell(component.bell, DEFAULT_DB_ALIAS) as loop.heard:
            loop.run(component.step)
    finally:
        connections.close_all()
