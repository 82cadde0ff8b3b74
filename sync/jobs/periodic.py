"""What a relay's process does besides delivering, now and then, in threads of their own: jobs and samples."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.db import connections

from sync.workers.loop import Loop
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)


class PeriodicTask(NamedTuple):
    """Something to do every so many seconds. What it raises is logged, and does not end it."""

    name: str
    every: float
    do: Callable[[], object]


@contextmanager
def beside(stop: StopEvent, *tasks: PeriodicTask) -> Iterator[None]:
    """Does the tasks in the background until the block ends, which sets `stop`."""
    threads = [threading.Thread(target=_repeat, args=[task, stop], name=task.name, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _repeat(task: PeriodicTask, stop: StopEvent) -> None:
    loop = Loop(
        stop, logger, prefix=f"{task.name}: ", interval=task.every, endless=True,
        recover=lambda error: connections.close_all(),
    )  # fmt: skip
    try:
        loop.run(task.do)
    finally:
        connections.close_all()
