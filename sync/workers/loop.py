"""The main loop of every worker: runs steps until it is stopped, and waits between retries during an outage."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

import pymongo.errors
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, ProgrammingError

from sync.core import mysql
from sync.core.retry import forget_connection
from sync.mongodb.errors import Unavailable, reason
from sync.workers.bell import silence
from sync.workers.lease import Paused
from sync.workers.shutdown import StopEvent

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between two attempts while a server is unreachable
PAUSED = "paused"
LOOK = 0.5  # seconds between two checks whether a paused route was resumed
OUTAGES: tuple[type[Exception], ...] = (
    Unavailable, pymongo.errors.PyMongoError, OperationalError, InterfaceError, ProgrammingError
)  # fmt: skip


class Loop:
    """Runs a step repeatedly. `trouble` says in one line what the loop waits for; "" while it works.

    `turned` is when it last began a step, or noted progress in one, by time.monotonic().

    logger: reports an outage once when it starts and once when it is over. prefix: starts these lines.
    interval: seconds between two steps; a step may change it. outages: exceptions that are logged in one line and
    retried. recover: called after each of them. endless: retry after every other exception too, and log it with its
    traceback. `heard` is the socket of a bell that ends the interval (see bell.py), if there is one.
    """

    def __init__(
        self,
        stop: StopEvent,
        logger: logging.Logger,
        *,
        prefix: str = "",
        interval: float = 0.0,
        outages: tuple[type[Exception], ...] = OUTAGES,
        recover: Callable[[Exception], None] = lambda error: forget_connection(DEFAULT_DB_ALIAS),
        endless: bool = False,
    ) -> None:
        self.stop = stop
        self.logger = logger
        self.prefix = prefix
        self.interval = interval
        self.outages = outages
        self.survived = (Exception,) if endless else outages
        self.recover = recover
        self.heard: socket.socket | None = None
        self.trouble = ""
        self.pause = 0.0
        self.began = 0.0
        self.turned = time.monotonic()

    def run(self, step: Callable[[], object], is_paused: Callable[[], bool] = lambda: False) -> None:
        """Runs steps until `stop` is set. Raises exceptions of a step that are not outages.

        step: returns False if it did not fail but does not show either that the outage is over. It returns, or raises
        Paused, when its route is paused meanwhile. is_paused: called before each step; it may fail like a step.
        """
        while not self.stop.is_set():
            self.began = self.turned = time.monotonic()
            sockets = [self.heard] if self.heard else []
            for each in sockets:
                silence(each)
            try:
                if is_paused():
                    self.pauses()
                    wait, sockets = LOOK, []
                else:
                    if step() is not False:
                        self.works()
                        self.pause = 0.0
                    wait = self.interval
            except Paused:
                continue
            except self.survived as error:
                self.fails(error)
                self.recover(error)
                wait, sockets = self.pause, []
            if wait:
                self.stop.wait(wait, *sockets)

    def pauses(self) -> None:
        """Logs once that an operator has paused the route."""
        if self.trouble != PAUSED:
            self.logger.info("%sPaused.", self.prefix)
        self.trouble = PAUSED

    def works(self) -> None:
        """Notes that the step makes progress, so an outage is over."""
        self.turned = time.monotonic()
        if self.trouble:
            self.logger.info("%sWorking again.", self.prefix)
        self.trouble = ""
        # A step that soon fails again keeps the longer pauses.
        if self.turned - self.began > self.pause:
            self.pause = 0.0

    def fails(self, error: Exception) -> None:
        """Logs the error once, with a traceback if it is not an outage, and doubles the next pause."""
        self.pause = min(max(2 * self.pause, SHORTEST_PAUSE), LONGEST_PAUSE)
        trouble = in_one_line(error)
        if trouble != self.trouble:
            is_loss = getattr(error, "is_loss", False)
            self.logger.error(
                "%s%s. %s.", self.prefix, trouble.rstrip("."),
                "Waiting until it is back" if is_loss else "Nothing is lost; retrying",
                exc_info=None if isinstance(error, self.outages) else error,
            )  # fmt: skip
        self.trouble = trouble


def in_one_line(error: Exception) -> str:
    """Returns why MySQL or MongoDB failed, in one line."""
    if isinstance(error, pymongo.errors.PyMongoError):
        return reason(error)
    return mysql.reason(error).rstrip(".") or type(error).__name__
