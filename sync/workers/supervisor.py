"""Runs several components of a worker process, each in a thread of its own, until the process is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from sync.mongodb.change_stream import NotFollowed
from sync.mongodb.privileges import NotPermitted
from sync.workers.loop import OUTAGES, Loop
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)

# Their messages say what to do: they are logged without a traceback.
EXPLAINED = (*OUTAGES, ImproperlyConfigured, NotPermitted, NotFollowed)


class Component(NamedTuple):
    """A part of a process.

    step: a worker, which runs until it is stopped, or a task to repeat. Called again after it returns, and after it
    fails: its exception is logged, and no other component stops. every: seconds between two calls.
    """

    name: str
    step: Callable[[], object]
    every: float = 0.0


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
        loop.run(component.step)
    finally:
        connections.close_all()
