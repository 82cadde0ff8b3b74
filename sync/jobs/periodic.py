"""Periodic tasks of a relay process, each in its own thread: running jobs and taking samples."""

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
    """A function to call every `every` seconds. An exception is logged, and the task continues."""

    name: str
    every: float
    do: Callable[[], object]


@contextmanager
def beside(stop: StopEvent, *tasks: PeriodicTask) -> Iterator[None]:
    """Run the tasks in background threads until the block ends; then set `stop` and wait for the threads."""
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
