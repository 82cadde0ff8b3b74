"""Further processes that share a command's work, on machines with more processors than one process can use.

A new process imports this module before Django is set up, so it imports nothing that needs models.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import django
from django.utils.module_loading import import_string

from sync.workers import notify

logger = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks whether a process has ended, or its parent has


class Helpers:
    """Processes that call a function until they are stopped or have nothing left to do."""

    def __init__(self, count: int, function: str, args: tuple[Any, ...]) -> None:
        self.task = function, args
        self.processes = [self._start() for _ in range(count)]

    def _start(self) -> BaseProcess:
        # Not forked: a copy of this process would have its threads' locks and its connections.
        process = multiprocessing.get_context("spawn").Process(target=_child, args=(os.getpid(), *self.task))
        with starting():
            process.start()
        return process

    def replace_dead(self) -> None:
        """Starts a new process for each that has ended by itself."""
        for place, process in enumerate(self.processes):
            if not process.is_alive():
                logger.error("A process ended by itself, with status %s. It is started again.", process.exitcode)
                self.processes[place] = self._start()

    def wait(self) -> bool:
        """Waits until all have ended. Returns whether they ended well."""
        for process in self.processes:
            process.join()
        return all(process.exitcode == 0 for process in self.processes)

    def stop(self) -> None:
        """Lets all finish what they are doing and end."""
        for process in self.processes:
            process.terminate()
        self.wait()


@contextmanager
def helped(count: int, function: str, *args: Any) -> Iterator[Helpers]:
    """Calls a function in `count` further processes until the block ends. function: its path, as in a setting."""
    helpers = Helpers(count, function, args)
    try:
        yield helpers
    finally:
        helpers.stop()


@contextmanager
def starting() -> Iterator[None]:
    """Delays Ctrl-C until the block ends. A process that starts in it gets none, even before it has its own session."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that return results, each started when there is work for it. At the end of the block, what they are
    doing is finished and the rest is left out.
    """
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(os.getpid(),))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _child(parent: int, function: str, args: tuple[Any, ...]) -> None:
    _begin(parent)
    sys.exit(import_string(function)(*args))


def _begin(parent: int) -> None:
    for variable in notify.VARIABLES:
        os.environ.pop(variable, None)
    os.setsid()  # Ctrl-C reaches the first process only, which tells the others
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    django.setup()
    import_string("sync.core.retry.bound_statements")("default")


def _end_with(parent: int) -> None:
    """Stops this process when its parent is gone, even by kill -9."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
