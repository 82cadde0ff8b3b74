"""Whether the servers answer, in bounded time however they fail: for load balancers, which ask often and unasked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pymongo
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from pymongo.errors import PyMongoError

from sync.core import mysql
from sync.mongodb.client import database
from sync.mongodb.errors import reason

logger = logging.getLogger(__name__)

PATIENCE = 1.2  # seconds that a caller waits at most, for all servers together
PING = 1.0  # seconds for MongoDB's answer
AGE = 2.0  # seconds for which an answer is believed: however many ask, a server is asked this often

OK, AWAY, NOT_MIGRATED = "ok", "away", "not migrated"


class Probe:
    """Asks one server, in a thread, because a frozen one may hold its caller for ever; one question at a time."""

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        self.name = name
        self.ask = ask
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Asks again next time."""
        self.word = ""
        self.answered_at = float("-inf")
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Asks, unless the last answer is young or the last question still open."""
        with self.lock:
            is_asking = self.thread is not None and self.thread.is_alive()
            if not is_asking and time.monotonic() - self.answered_at > AGE:
                self.thread = threading.Thread(target=self._run, name=f"ask {self.name}", daemon=True)
                self.thread.start()

    def wait(self, seconds: float) -> str:
        """The answer in a word; "away" when there is none in time."""
        thread = self.thread
        if thread is not None:
            thread.join(max(seconds, 0.0))
            if thread.is_alive():
                return AWAY
        return self.word

    def _run(self) -> None:
        before = self.word
        try:
            self.word = self.ask()
        except Exception as error:
            self.word = AWAY
            if before != AWAY:
                logger.warning("%s", reason(error) if isinstance(error, PyMongoError) else mysql.reason(error))
        self.answered_at = time.monotonic()


class MigrationsSeen:
    """Whether this process has seen all its migrations applied. They stay so; to look takes 50 ms."""

    def __init__(self) -> None:
        self.are_applied = False

    def __call__(self) -> str:
        try:
            connection = connections[DEFAULT_DB_ALIAS]
            if self.are_applied:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                return OK
            executor = MigrationExecutor(connection)
            self.are_applied = not executor.migration_plan(executor.loader.graph.leaf_nodes())
            return OK if self.are_applied else NOT_MIGRATED
        finally:
            connections.close_all()  # this thread's


def _ping() -> str:
    with pymongo.timeout(PING):
        database().command("ping")
    return OK


MYSQL = Probe("MySQL", MigrationsSeen())
MONGODB = Probe("MongoDB", _ping)


def answers() -> dict[str, str]:
    """A word for each server: "ok", "away", and of MySQL also "not migrated". Takes PATIENCE seconds at most."""
    deadline = time.monotonic() + PATIENCE
    probes = {"mysql": MYSQL, "mongodb": MONGODB}
    for probe in probes.values():
        probe.start()
    return {name: probe.wait(deadline - time.monotonic()) for name, probe in probes.items()}
