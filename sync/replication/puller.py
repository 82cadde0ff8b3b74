"""The puller: follows the collections of pulled models, each in a thread of its own, one puller a model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DEFAULT_DB_ALIAS, connections

from sync.mongodb import privileges
from sync.mongodb.client import database, forget_clients
from sync.replication.pulled import PulledModel
from sync.replication.replicator import Follower, persist
from sync.replication.table_sink import Rows
from sync.workers.heartbeat import PULLER, RelayHeart
from sync.workers.shutdown import Stop

logger = logging.getLogger(__name__)


class Busy(Exception):
    """Another puller is at work. Says which."""


class Puller:
    """Pulls models until `stop` is set, which a signal handler or another thread may do."""

    def __init__(self, models: list[type[PulledModel]], using: str = DEFAULT_DB_ALIAS) -> None:
        self.using = using
        self.stop = Stop()
        self.targets = [Rows(model, using) for model in models]
        self.trouble: dict[str, str] = {}
        self.failure: Exception | None = None
        self.heart = RelayHeart(using, kind=PULLER)

    def lease(self) -> None:
        """Takes each model's lease. One that another puller does not extend any more is waited for. Raises Busy."""
        for rows in self.targets:
            seen = None
            while (holder := rows.lease()) is not None and not self.stop.is_set():
                if seen is None:
                    seen = holder.leased_until
                    logger.info("%s is pulled by %s; looking whether it lives.", rows.label, holder.owner_name)
                elif holder.leased_until != seen:
                    self.release()
                    raise Busy(f"{rows.label} is pulled by {holder.owner_name} already.")
                self.stop.wait(0.2)

    def release(self) -> None:
        for rows in self.targets:
            rows.release()

    def catch_up(self) -> None:
        """Pulls what has changed until now. Raises what a server raises."""
        for rows in self.targets:
            self._follow(rows, Follower.catch_up)

    def run(self) -> None:
        """Pulls until stopped; goes on after failures of the servers. Raises LeaseLost, NotFollowed, NotPermitted."""
        threads = [threading.Thread(target=self._run, args=(rows,), name=rows.label) for rows in self.targets]
        with self.heart.beating(lambda: next(iter(self.trouble.values()), "")):
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():  # and no endless join(), in which a signal would go unseen
                    thread.join(0.2)
        if self.failure:
            raise self.failure

    def _follow(self, rows: Rows, act: Callable[[Follower], None]) -> None:
        collection = database()[rows.model.source.collection]
        privileges.require(collection.database.client, privileges.PULL, collection.database.name, collection.name)
        follower = Follower(collection, rows, self.stop)

        def count(seen: int, written: int) -> None:
            self._say(rows.label, "")
            self.heart.count(written, [])

        follower.on_write = count
        act(follower)

    def _run(self, rows: Rows) -> None:
        try:
            persist(
                lambda: self._follow(rows, Follower.run),
                self.stop,
                lambda trouble: self._say(rows.label, trouble),
                forget_clients,
            )
        except Exception as error:
            self.failure = error
            self.stop.set()
        finally:
            connections.close_all()

    def _say(self, label: str, trouble: str) -> None:
        """Says what is wrong once, and that it is over."""
        before = self.trouble.get(label, "")
        if trouble and trouble != before:
            logger.error("%s: %s. Nothing is lost; trying again until it is back.", label, trouble)
        elif before and not trouble:
            logger.info("%s: pulling again.", label)
        if trouble:
            self.trouble[label] = trouble
        else:
            self.trouble.pop(label, None)
