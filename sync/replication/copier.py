"""The copier: selects the collections that `sync copy` copies, and copies them once or follows them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from sync.mongodb import collection_spec, privileges
from sync.mongodb.change_stream import ChangeStream, Documents, Key, NotFollowed, Replaced
from sync.mongodb.errors import reason
from sync.mongodb.uris import OURS, Address, BadAddress
from sync.replication.collection_checkpoint import STATES
from sync.replication.collection_sink import CollectionSink, NotOurs
from sync.replication.replicator import Replicator, StaleClient, groups
from sync.workers.heartbeat import COPIER, WorkerHeartbeat
from sync.workers.lease import Busy, LeaseLost, Paused, acquire
from sync.workers.loop import Loop
from sync.workers.models import Checkpoint
from sync.workers.routes import Route, RoutePause
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)

LOOK = 5.0  # seconds between two searches for new collections
SPEC = 10.0  # seconds between two comparisons of a collection's options and indexes
RECHECKS = 3  # how often a mismatch is rechecked, one second apart, because it may be a change in flight


@dataclass
class Result:
    """The result of copying one collection. problem: why it was skipped; "" if it was copied.

    refused: dead letters with their reasons. spec: the options and indexes that the destination rejects, as text.
    """

    source: str
    destination: str
    seen: int = 0
    written: int = 0
    refused: list[tuple[Key, str]] = field(default_factory=list)
    spec: list[str] = field(default_factory=list)
    problem: str = ""


@dataclass
class Verified:
    """The result of comparing one collection with its copy. different: the kind of each mismatch, and its `_id`."""

    source: str
    compared: int = 0
    spec: list[str] = field(default_factory=list)
    different: list[tuple[str, Key]] = field(default_factory=list)


class Copier:
    """Copies from one address to another. Raises BadAddress if the two cannot be combined, and PyMongoError."""

    def __init__(self, source: Address, destination: Address, *, replace: bool = False, full: bool = False) -> None:
        if source.depth < destination.depth:
            raise BadAddress(f"{source} cannot be copied to {destination}: copy a database to a database.")
        self.source, self.destination = source, destination
        self.replace, self.full = replace, full
        self.stop = StopEvent()
        self.theirs, self.ours = source.connect(), destination.connect()
        self.failure: Exception | None = None
        self.heartbeat = WorkerHeartbeat(DEFAULT_DB_ALIAS, kind=COPIER)
        self.pauses: dict[str, RoutePause] = {}  # by route, for each route that this process runs
        self.replicators: dict[str, Replicator] = {}  # by route, from the moment that it follows
        self.loops: dict[str, Loop] = {}

    def close(self) -> None:
        self.theirs.close()
        self.ours.close()

    # --- which collections -------------------------------------------------------------------------------------------

    def require_two_places(self) -> None:
        """Raises BadAddress if the destination is the source, or does not support transactions."""
        theirs, ours = self.theirs.admin.command("hello"), self.ours.admin.command("hello")
        if not ("setName" in ours or ours.get("msg") == "isdbgrid"):
            raise BadAddress(f"{self.destination} is not a replica set, so it has no transactions, which a copy needs.")
        # The same process may be reached by two names, so compare the process ids of both primaries.
        same = theirs["topologyVersion"]["processId"] == ours["topologyVersion"]["processId"]
        names = (
            self.destination.database or self.source.database,
            self.destination.collection or self.source.collection,
        )
        if same and names == (self.source.database, self.source.collection):
            raise BadAddress(f"{self.destination} is the source. Choose another destination.")

    def require_privileges(self, *, writes: bool) -> None:
        """Raises NotPermitted if the user of either address lacks a privilege that copying, or comparing, needs."""
        source, database = self.source, self.destination.database or self.source.database
        names = [self.destination.collection or source.collection, STATES] if source.collection else []
        privileges.require(
            self.theirs, privileges.FOLLOW if writes else privileges.READ, source.database,
            *filter(None, [source.collection]),
        )  # fmt: skip
        privileges.require(self.ours, privileges.WRITE if writes else privileges.READ, database, *names)

    def pairs(self) -> Iterator[tuple[Collection[Any], Collection[Any]]]:
        """Yields each source collection and its destination, including dropped collections that were copied before."""
        source = self.source
        if source.collection:
            yield self._pair(source.database, source.collection)
            return
        for database in [source.database] if source.database else self._databases():
            infos = self.theirs[database].list_collections()
            names = {info["name"] for info in infos if not info["name"].startswith("system.")} - {STATES}
            states = self.ours[self.destination.database or database][STATES]
            for state in states.find({"source": {"$exists": True}}, {"source": 1}):
                if state["source"].partition(".")[0] == database:
                    names.add(state["source"].partition(".")[2])
            for name in sorted(names):
                yield self._pair(database, name)

    def _databases(self) -> list[str]:
        return [name for name in self.theirs.list_database_names() if name not in OURS]

    def _pair(self, database: str, name: str) -> tuple[Collection[Any], Collection[Any]]:
        place = self.ours[self.destination.database or database]
        return self.theirs[database][name], place[self.destination.collection or name]

    # --- copying -----------------------------------------------------------------------------------------------------

    def copy(self) -> Iterator[Result]:
        """Copies all changes up to now, one collection after the other."""
        for source, destination in self.pairs():
            if self.stop.is_set():
                return
            result = Result(source.full_name, destination.full_name)
            with _left_out(result, one=bool(self.source.collection)):
                self._with_lease(source, destination, result, Replicator.catch_up)
            yield result

    def follow(self, say: Callable[[Result], None]) -> None:
        """Copies and follows all collections, new ones too, each in a separate thread, until stopped."""
        threads: dict[str, threading.Thread] = {}
        with self.heartbeat.beating(self._trouble, self._routes):
            while not self.stop.is_set():
                for source, destination in self._pairs_if_there():
                    if source.full_name not in threads:
                        thread = threading.Thread(target=self._follow, args=(source, destination, say))
                        threads[source.full_name] = thread
                        thread.start()
                self.stop.wait(LOOK)
            for thread in threads.values():
                thread.join()
        if self.failure:
            raise self.failure

    def _trouble(self) -> str:
        return next((loop.trouble for loop in list(self.loops.values()) if loop.trouble), "")

    def _routes(self) -> dict[str, float | None]:
        return {name: self.replicators[name].behind if name in self.replicators else None for name in list(self.pauses)}

    def _pairs_if_there(self) -> list[tuple[Collection[Any], Collection[Any]]]:
        try:
            return list(self.pairs())
        except PyMongoError as error:
            logger.error("%s; searching for collections again in %.0f s.", reason(error), LOOK)
            return []

    def _follow(self, source: Collection[Any], destination: Collection[Any], say: Callable[[Result], None]) -> None:
        result = Result(source.full_name, destination.full_name)
        target = self._target(source.full_name, destination)
        loop = Loop(self.stop, logger, prefix=f"{source.full_name}: ", recover=StaleClient(self._reconnect))
        self.loops[source.full_name] = loop
        try:
            with _left_out(result, one=bool(self.source.collection)):
                loop.run(
                    lambda: self._with_lease(self._again(source), destination, result, Replicator.run, loop.works),
                    target.checkpoint.paused,
                )
            say(result)
        except Exception as error:
            self.failure = error
            self.stop.set()
        finally:
            self.pauses.pop(target.checkpoint.route)
            connections.close_all()

    def _target(self, source: str, destination: Collection[Any]) -> CollectionSink:
        route = Route.COPY.of(f"{self.destination.hosts}/{destination.full_name}")
        # The loop and the target share one RoutePause, so that they agree on whether the route is paused.
        return CollectionSink(destination, source, route, self.pauses.setdefault(route, RoutePause(route)))

    def _again(self, source: Collection[Any]) -> Collection[Any]:
        """Returns the same collection of the current client."""
        return self.theirs[source.database.name][source.name]

    def _reconnect(self) -> None:
        self.theirs.close()
        self.theirs = self.source.connect()

    def _with_lease(
        self,
        source: Collection[Any],
        destination: Collection[Any],
        result: Result,
        act: Callable[[Replicator], None],
        works: Callable[[], None] = lambda: None,
    ) -> None:
        target = self._target(source.full_name, destination)
        if collection_spec.info_of(source) is None and not target.is_known():
            raise NotFollowed(f"There is no collection {source.full_name}.")
        acquire(target.checkpoint, self.stop)
        try:
            if self.stop.is_set():  # may be set while waiting for the lease
                return
            target.checkpoint.require_running()
            # With the lease, no other copier creates the same indexes. The first `own` raises before anything changes.
            target.own(replace=self.replace)
            self._prepare(source, destination, target, result)
            target.own(replace=True)
            if self.full:
                target.forget()
            replicator = self.replicators[target.checkpoint.route] = Replicator(source, target, self.stop)
            replicator.on_write = self._counting(source, destination, target, result, works)
            act(replicator)
            if result.spec:  # the documents that made the destination reject an index may have changed
                self._prepare(source, destination, target, result)
            result.refused = list(target.refused())
        finally:
            target.checkpoint.release()

    def _counting(
        self,
        source: Collection[Any],
        destination: Collection[Any],
        target: CollectionSink,
        result: Result,
        works: Callable[[], None],
    ) -> Callable[[int, int], None]:
        """Returns the callback for each write. Every SPEC seconds it also compares options and indexes."""
        compared_at = time.monotonic()

        def count(seen: int, written: int) -> None:
            nonlocal compared_at
            works()
            self.heartbeat.count(written, [])
            result.seen += seen
            result.written += written
            if time.monotonic() - compared_at > SPEC:
                compared_at = time.monotonic()
                self._prepare(source, destination, target, result)
                if target.own(replace=True):
                    raise Replaced  # the copy was dropped, or replaced by another collection

        return count

    def _prepare(
        self, source: Collection[Any], destination: Collection[Any], target: CollectionSink, result: Result
    ) -> None:
        """Brings options and indexes in sync, and logs once each option or index that the destination rejects."""
        before = target.kept()
        kept, refused = collection_spec.prepare(source, destination, before)
        if kept != before:
            target.keep(kept)
        for what in set(refused) - set(result.spec):
            logger.warning("%s: %s", destination.full_name, what)
        result.spec = refused

    def promote(self) -> Iterator[tuple[str, list[str]]]:
        """Turns each copy into a normal collection, with its TTL indexes active. Yields its name and what was done.

        Does not connect to the source. Raises Busy and NotOurs.
        """
        found = False
        for source, destination in self._copies():
            found = True
            target = self._target(source, destination)
            acquire(target.checkpoint, self.stop)
            done = collection_spec.promote(destination, target.kept().expires)
            target.end()
            with suppress(DatabaseError):  # only pages show this row, and a copy does not need this database
                Checkpoint.objects.filter(name=target.checkpoint.route).delete()
            yield destination.full_name, done
        if not found:
            raise NotOurs(f"{self.destination} has no copy of {self.source} to promote.")

    def _copies(self) -> Iterator[tuple[str, Collection[Any]]]:
        """Yields each source namespace and its copy, as recorded in the destination."""
        wanted = ".".join(filter(None, (self.source.database, self.source.collection)))
        database = self.destination.database or self.source.database
        for name in [database] if database else self.ours.list_database_names():
            for state in list(self.ours[name][STATES].find({"source": {"$exists": True}})):
                of_source = f"{state['source']}.".startswith(f"{wanted}." if wanted else "")
                if of_source and self.destination.collection in ("", state["_id"]):
                    yield state["source"], self.ours[name][state["_id"]]

    # --- comparing ---------------------------------------------------------------------------------------------------

    def verify(self) -> Iterator[Verified]:
        """Compares every document of both sides byte by byte, and options and indexes."""
        for source, destination in self.pairs():
            result = Verified(source.full_name)
            collection_spec.require_collection(source, collection_spec.info_of(source))
            collection_spec.require_collection(destination, collection_spec.info_of(destination))
            result.spec = collection_spec.differences(source, destination)
            target = CollectionSink(destination, source.full_name)
            with self.theirs.start_session(causal_consistency=True) as session:
                stream = ChangeStream(source, session)
                for batch in stream.scan(None):
                    result.compared += len(batch)
                    result.different += self._different(stream, target, dict(batch))
                for keys in groups(target.keys()):
                    extra = set(keys) - stream.existing(keys)
                    result.different += self._different(stream, target, dict.fromkeys(extra))
            yield result

    def _different(self, stream: ChangeStream, target: CollectionSink, documents: Documents) -> list[tuple[str, Key]]:
        """Returns the mismatches that remain after rechecks: the two sides are not read at the same moment."""
        for _ in range(RECHECKS):
            there = target.present(list(documents))
            different = [
                (_kind(document is not None, key in there), key)
                for key, document in documents.items()
                if (document is None) != (key not in there) or (document is not None and document.raw != there[key].raw)
            ]
            if not different:
                break
            self.stop.wait(1.0)
            keys = [key for _, key in different]
            documents = {key: document for part in stream.fetch(keys) for key, document in part.items()}
        return different


def _kind(in_source: bool, in_destination: bool) -> str:
    if in_source and in_destination:
        return "different"
    return "missing" if in_source else "extra"


@contextmanager
def _left_out(result: Result, *, one: bool) -> Iterator[None]:
    """Notes in the result why a collection is skipped. Raises the error instead if only one collection is copied."""
    try:
        yield
    except (NotFollowed, NotOurs, Busy, LeaseLost, Paused) as error:
        if one:
            raise
        result.problem = str(error)
