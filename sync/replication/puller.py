"""The puller: follows the collections of pulled models, each in a separate thread. Each model has only one puller."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DEFAULT_DB_ALIAS, connections

from sync.mongodb import privileges
from sync.mongodb.client import database, forget_clients
from sync.replication.pulled import PulledModel
from sync.replication.replicator import Replicator, StaleClient
from sync.replication.table_sink import TableSink
from sync.workers.heartbeat import PULLER, WorkerHeartbeat
from sync.workers.lease import acquire
from sync.workers.loop import Loop
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)


class Puller:
    """Pulls models until `stop` is set, by a signal handler or another thread, or by the pull of a model that fails."""

    def __init__(
        self, models: list[type[PulledModel]], using: str = DEFAULT_DB_ALIAS, stop: StopEvent | None = None
    ) -> None:
        self.stop = stop or StopEvent()
        self.pulls = [Pull(TableSink(model, using), self.stop) for model in models]
        self.failure: Exception | None = None
        self.heartbeat = WorkerHeartbeat(using, kind=PULLER)
        for pull in self.pulls:
            pull.count = lambda written: self.heartbeat.count(written, [])

    def lease(self, *, stand_by: bool = False) -> None:
        """Takes each model's lease. Raises Busy unless it stands by: see sync/workers/lease.py."""
        try:
            for pull in self.pulls:
                acquire(pull.rows.checkpoint, self.stop, stand_by=stand_by)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        for pull in self.pulls:
            pull.rows.checkpoint.release()

    def catch_up(self) -> None:
        """Pulls all changes up to now. Raises Paused, and errors of both drivers."""
        for pull in self.pulls:
            if self.stop.is_set():  # may be set while waiting for the lease
                return
            pull.rows.checkpoint.require_running()
            pull.follow(Replicator.catch_up)

    def run(self) -> None:
        """Pulls until stopped, and retries during an outage. Raises LeaseLost, NotFollowed, NotPermitted."""
        threads = [threading.Thread(target=self._run, args=(pull,), name=pull.rows.label) for pull in self.pulls]
        with self.heartbeat.beating(self._trouble, self._routes):
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():  # join() without a timeout would block signal handlers
                    thread.join(0.2)
        if self.failure:
            raise self.failure

    def _run(self, pull: Pull) -> None:
        try:
            pull.run()
        except Exception as error:
            self.failure = error
            self.stop.set()
        finally:
            connections.close_all()

    def _trouble(self) -> str:
        return next((pull.loop.trouble for pull in self.pulls if pull.loop.trouble), "")

    def _routes(self) -> dict[str, float | None]:
        return {pull.rows.checkpoint.route: pull.behind for pull in self.pulls}


class Pull:
    """The pull of one model: its rows, and its loop. count: called with the number of rows written."""

    def __init__(self, rows: TableSink, stop: StopEvent) -> None:
        self.rows = rows
        self.stop = stop
        self.loop = Loop(stop, logger, prefix=f"{rows.label}: ", recover=StaleClient(forget_clients))
        self.count: Callable[[int], None] = lambda written: None
        self.replicator: Replicator | None = None

    @property
    def behind(self) -> float | None:
        return self.replicator.behind if self.replicator else None

    def run(self) -> None:
        self.loop.run(lambda: self.follow(Replicator.run), self.rows.checkpoint.is_paused)

    def follow(self, act: Callable[[Replicator], None]) -> None:
        collection = database()[self.rows.model.source.collection]
        privileges.require(collection.database.client, privileges.PULL, collection.database.name, collection.name)
        self.replicator = Replicator(collection, self.rows, self.stop)
        self.replicator.on_write = self._written
        act(self.replicator)

    def _written(self, seen: int, written: int) -> None:
        self.loop.works()
        self.count(written)
