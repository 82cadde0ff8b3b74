"""Lets readers with the read concern "majority" see inline writes soon, without a request that waits for it.

Inline delivery is acknowledged by the primary alone. The majority has the write once it is in the journal, which
MongoDB flushes every 100 ms, or as soon as somebody waits for it. A thread of the process waits in place of the
requests: its write changes nothing, and is acknowledged when the majority has everything that was written before it.
"""

from __future__ import annotations

import logging
import os
import threading

import pymongo
from pymongo.errors import PyMongoError

from sync.core import conf
from sync.mapping.registry import Target
from sync.mongodb.client import collection

logger = logging.getLogger(__name__)

PAUSE = 0.01  # seconds between two waits at least: under load, one wait is for the writes of several requests
NEVER = {"_id": "", "_sync.v": -1}  # no document has it


class Majority:
    """The thread of this process, which starts with the first write."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Also called after a fork, which no thread survives."""
        self.lock = threading.Lock()
        self.awaited: set[Target] = set()
        self.is_written = threading.Event()
        self.thread: threading.Thread | None = None

    def wait_for(self, target: Target) -> None:
        """Returns at once. Another thread waits until the majority has what was written to the target so far."""
        with self.lock:
            self.awaited.add(target)
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._run, name="majority", daemon=True)
                self.thread.start()
        self.is_written.set()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self.is_written.wait()
            self.is_written.clear()
            with self.lock:
                targets, self.awaited = self.awaited, set()
            for target in targets:
                self._wait(target)
            pause.wait(PAUSE)

    def _wait(self, target: Target) -> None:
        try:
            with pymongo.timeout(conf.INLINE_TIMEOUT):
                collection(target).delete_one(NEVER)
        except PyMongoError as error:  # readers see the write with the next flush
            logger.debug("Did not wait for the majority: %s", error)


MAJORITY = Majority()
os.register_at_fork(after_in_child=MAJORITY.reset)
