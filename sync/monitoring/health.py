"""Health probes for load balancers: whether the servers respond, determined in bounded time however they fail."""

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
PING = 1.0  # seconds for MongoDB's response
AGE = 2.0  # seconds for which a result is cached, so that many requests cause one query per server

OK, AWAY, NOT_MIGRATED = "ok", "away", "not migrated"


class Probe:
    """Queries one server, in a thread because a frozen server may block its caller forever; one query at a time."""

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        self.name = name
        self.ask = ask
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Drop the cached result."""
        self.word = ""
        self.answered_at = float("-inf")
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Start a query, unless the last result is recent or the last query is still running."""
        with self.lock:
            is_asking = self.thread is not None and self.thread.is_alive()
            if not is_asking and time.monotonic() - self.answered_at > AGE:
                self.thread = threading.Thread(target=self._run, name=f"ask {self.name}", daemon=True)
                self.thread.start()

    def wait(self, seconds: float) -> str:
        """Return the result, or "away" if the query does not finish in time."""
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
    """Checks that all migrations are applied. Remembers a success, because the check takes 50 ms."""

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
            connections.close_all()  # the connections of this thread


def _ping() -> str:
    with pymongo.timeout(PING):
        database().command("ping")
    return OK


MYSQL = Probe("MySQL", MigrationsSeen())
MONGODB = Probe("MongoDB", _ping)


def answers() -> dict[str, str]:
    """Return "ok" or "away" for each server; MySQL also "not migrated". Takes at most PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    probes = {"mysql": MYSQL, "mongodb": MONGODB}
    for probe in probes.values():
        probe.start()
    return {name: probe.wait(deadline - time.monotonic()) for name, probe in probes.items()}
