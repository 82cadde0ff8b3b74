"""What a relay's process does besides delivering, now and then, in threads of their own: errands and samples."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.db import connections

from sync.workers.loop import Loop
from sync.workers.shutdown import Stop

logger = logging.getLogger(__name__)


class Chore(NamedTuple):
    """Something to do every so many seconds. What it raises is logged, and does not end it."""

    name: str
    every: float
    do: Callable[[], object]


@contextmanager
def beside(stop: Stop, *chores: Chore) -> Iterator[None]:
    """Does the chores in the background until the block ends, which sets `stop`."""
    threads = [threading.Thread(target=_repeat, args=[chore, stop], name=chore.name, daemon=True) for chore in chores]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _repeat(chore: Chore, stop: Stop) -> None:
    loop = Loop(
        stop, logger, prefix=f"{chore.name}: ", interval=chore.every, endless=True,
        recover=lambda error: connections.close_all(),
    )  # fmt: skip
    try:
        loop.run(chore.do)
    finally:
        connections.close_all()
