"""The replicator: brings a target in sync with one MongoDB collection, and keeps it in sync.

The protocol, for one collection and one replicator at a time (the target's lease ensures that):

1. Save a resume token of the change stream and the server that issued it: from here on no change can be missed.
2. Snapshot: read the collection in order of `_id`, and write the documents that differ. Each batch saves the position.
3. Prune: look up the target's keys in the source, and remove those that the source no longer has. The change stream
   reports later what is deleted or inserted in the meantime.
4. Streaming: poll the next events, read the current documents of their keys, write those that differ, and save the new
   resume token in the same transaction.

An event only provides a key; its content is never written. The document is read after the event, with majority read
concern. So after a crash at any point, every step can be repeated, and an older state never replaces a newer one.

Steps 1 to 3 are repeated when the server no longer has the history of the token, when another server responds that does
not have the last event, or when the collection is dropped, renamed or replaced. A drop deletes every document, so it
empties the target. But if a collection is missing and no drop was seen, the replicator assumes a wrong address and
removes nothing.

If a replicator was frozen and another one took over, the target stops the first: only the lease's holder can write.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from bson import Binary
from django.db import DEFAULT_DB_ALIAS, connections
from pymongo.collection import Collection

from sync.core.retry import forget_connection
from sync.mongodb.change_stream import (
    BATCH,
    BATCH_BYTES,
    GLANCE,
    UNKNOWN,
    WAIT,
    ChangeStream,
    Documents,
    History,
    HistoryLost,
    Invalidated,
    Key,
    NotFollowed,
    Replaced,
    Size,
)
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)
T = TypeVar("T")

KEEP = 2.0  # seconds between two saves of the position while the stream has no events
STALE = 10.0  # seconds: a primary may need so long to notice that it has lost an election
RETRY = 60.0  # seconds between two retries of dead letters


@dataclass(frozen=True)
class ReplicationState:
    """The position of a replicator: the state of its checkpoint.

    token: the resume token; None before step 1. history: the server that issued it. after: the last key written in
    step 2. dropped: a drop or rename started this pass, so a missing collection counts as empty.
    """

    phase: Literal["snapshot", "prune", "streaming"] = "snapshot"
    token: dict[str, Any] | None = None
    after: Key | None = None
    dropped: bool = False
    history: History = UNKNOWN

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ReplicationState:
        """Reads the result of `as_state`. An empty state is the beginning. Ignores other keys."""
        phase = state.get("phase") or "snapshot"
        after = state.get("after")
        return cls(
            FORMER_PHASES.get(phase, phase), state.get("token"), bytes(after) if after else None,
            state.get("dropped", False), History(**state.get("history") or {}),
        )  # fmt: skip

    def as_state(self) -> dict[str, Any]:
        """Returns a dict that BSON can encode."""
        return {**dataclasses.asdict(self), "after": Binary(self.after) if self.after else None}


# The names of the phases in checkpoints that were saved before version 0.9.
FORMER_PHASES: dict[str, Any] = {"documents": "snapshot", "extras": "prune", "following": "streaming"}


class Target(Protocol):
    """What a replicator writes to. Every method may raise LeaseLost, Paused, and the errors of its database."""

    name: str
    most: Size  # documents of the snapshot that it writes at a time

    def position(self) -> ReplicationState:
        """Returns the last saved position; ReplicationState() if there is none, or if all must be compared again."""

    def prepare(self, documents: Documents) -> Any:
        """Converts documents for `write`. Another thread may call it while earlier documents are written."""

    def write(self, batch: Any, position: ReplicationState) -> int:
        """Writes the documents that differ, saves the position and extends the lease, atomically.

        batch: the result of `prepare`.

        A document that the target rejects becomes a dead letter, until a later version fits. Returns the number of
        documents written.
        """

    def count(self) -> int:
        """Returns the number of `keys`."""

    def keys(self) -> Iterator[Key]:
        """Yields all keys of the target and of its dead letters. The target may change during the iteration."""

    def oldest_dead_letters(self) -> list[Key]:
        """Returns the keys of one batch of dead letters, the longest untried first."""


class Replicator:
    """Follows a collection until `stop` is set, by any thread."""

    def __init__(self, collection: Collection[Any], target: Target, stop: StopEvent | None = None) -> None:
        self.collection = collection
        self.target = target
        self.stop = stop or StopEvent()
        self.on_write: Callable[[int, int], None] = lambda seen, written: None
        self.retried_at = time.monotonic()
        self.kept_at = float("-inf")
        self.in_sync_at: float | None = None  # by time.time(): the target has every change up to this time

    @property
    def behind(self) -> float | None:
        """The lag in seconds; None during snapshot and prune."""
        return None if self.in_sync_at is None else max(time.time() - self.in_sync_at, 0.0)

    def catch_up(self) -> None:
        """Runs until the target has every change made before this call."""
        self._follow(once=True)

    def run(self) -> None:
        """Runs until stopped. Raises the errors of both databases; call it again to continue."""
        self._follow(once=False)

    def _follow(self, once: bool) -> None:
        is_done = False
        while not (is_done or self.stop.is_set()):
            with self.collection.database.client.start_session(causal_consistency=True) as session, suppress(Replaced):
                self._follow_server(ChangeStream(self.collection, session), once)
                is_done = True

    def _follow_server(self, stream: ChangeStream, once: bool) -> None:
        """Follows while the same server responds. Raises Replaced."""
        stream.require_followable()
        goal = stream.latest() if once else None
        position = self.target.position()
        if position.phase == "streaming":
            self._retry(stream, position)
        while not self.stop.is_set():
            try:
                if position.phase != "streaming":
                    position = self._pass(stream, position)
                if position.phase == "streaming" and self._stream(stream, position, goal):
                    return
            except HistoryLost as error:
                logger.warning("%s: the change stream is lost (%s). Comparing everything again.", stream.name, error)
                position = self._begin(stream, ReplicationState())
            except Invalidated:
                logger.warning("%s was dropped or renamed. Comparing the one that has its name now.", stream.name)
                position = self._begin(stream, ReplicationState(dropped=True))

    def _begin(self, stream: ChangeStream, position: ReplicationState) -> ReplicationState:
        """Step 1."""
        self.in_sync_at = None
        position = dataclasses.replace(position, token=stream.now(), history=stream.history())
        stream.require_same_server()
        self._write({}, position)
        return position

    def _pass(self, stream: ChangeStream, position: ReplicationState) -> ReplicationState:
        """Continues steps 1 to 3. Returns the position at the end, or where it was stopped."""
        if position.token is None:
            position = self._begin(stream, position)
        if not position.dropped and stream.kind() == "absent" and next(iter(self.target.keys()), None) is not None:
            raise NotFollowed(
                f"There is no collection {stream.name}, but {self.target.name} is not empty. Is the address right? "
                "To remove everything, create the empty collection."
            )
        has_extras = True
        if position.phase == "snapshot":
            seen, is_whole = 0, position.after is None
            scan = stream.scan(position.after, self.target.most)
            for documents, batch in ahead((each, self.target.prepare(dict(each))) for each in scan):
                position = dataclasses.replace(position, after=next(reversed(documents)))
                self._write_batch(batch, len(documents), position)
                seen += len(documents)
                if self.stop.is_set():
                    return position
            position = dataclasses.replace(position, phase="prune", after=None)
            # Each document seen is in the target now. If the target has no more than these, it has no extra ones.
            has_extras = not is_whole or self.target.count() != seen
        for keys in groups(self.target.keys() if has_extras else ()):
            gone = set(keys) - stream.existing(keys)
            self._write(dict.fromkeys(gone), position)
            if self.stop.is_set():
                return position
        position = dataclasses.replace(position, phase="streaming", dropped=False)
        self._write({}, position)
        return position

    def _stream(self, stream: ChangeStream, position: ReplicationState, goal: str | None) -> bool:
        """Runs step 4. Returns True if the goal is reached, False if stopped."""
        assert position.token is not None
        with stream.resume(position.token, position.history, WAIT if goal is None else GLANCE) as events:
            uuid = position.history.uuid or stream.uuid()
            while not self.stop.is_set():
                asked_at = time.time()
                keys, newest = events.poll()
                history = History(stream.server, events.last, uuid)
                before, position = position, dataclasses.replace(position, token=events.token, history=history)
                reached = goal is not None and not keys and events.token["_data"] >= goal
                if keys:
                    self._write_current(stream, keys, newest, before, position)
                elif reached or time.monotonic() - self.kept_at > KEEP:
                    self._write({}, position)
                self.in_sync_at = float(newest.time) if newest else asked_at
                if reached or (goal is None and time.monotonic() - self.retried_at > RETRY):
                    self._retry(stream, position)
                if reached:
                    return True
        return False

    def _retry(self, stream: ChangeStream, position: ReplicationState) -> None:
        self.retried_at = time.monotonic()
        if keys := self.target.oldest_dead_letters():
            self._write_current(stream, keys, None, position, position)

    def _write_current(
        self, stream: ChangeStream, keys: list[Key], newest: Any, before: ReplicationState, position: ReplicationState
    ) -> None:
        """Writes the current documents of these keys. The last batch saves the new position."""
        parts = stream.fetch(keys, newest)
        part = next(parts)
        for later in parts:
            self._write(part, before)
            part = later
        self._write(part, position)

    def _write(self, documents: Documents, position: ReplicationState) -> None:
        self._write_batch(self.target.prepare(documents), len(documents), position)

    def _write_batch(self, batch: Any, seen: int, position: ReplicationState) -> None:
        written = self.target.write(batch, position)
        self.kept_at = time.monotonic()
        self.on_write(seen, written)


class StaleClient:
    """Reconnects after an outage, and replaces the client if the primary stays stale for STALE seconds.

    A client rejects a primary that was elected before another primary that it knows. If such a primary stays, it
    belongs to another replica set or was restored from an older backup, and only a new client accepts it.
    """

    def __init__(self, reconnect: Callable[[], None]) -> None:
        self.reconnect = reconnect
        self.since: float | None = None

    def __call__(self, error: Exception) -> None:
        forget_connection(DEFAULT_DB_ALIAS)
        self.since = (self.since or time.monotonic()) if "marked stale" in str(error) else None
        if self.since and time.monotonic() - self.since > STALE:
            self.reconnect()
            self.since = None


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yields the items. Another thread produces the next item while the caller uses the current one."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, "reading ahead") as thread:
        try:
            coming = thread.submit(next, iterator, None)
            while (item := coming.result()) is not None:
                coming = thread.submit(next, iterator, None)
                yield item
        finally:
            thread.submit(connections.close_all)


def groups(keys: Iterable[Key]) -> Iterator[list[Key]]:
    """Yields the keys in groups of at most BATCH keys and about BATCH_BYTES: an `_id` may be as large as a document."""
    group: list[Key] = []
    size = 0
    for key in keys:
        group.append(key)
        size += len(key)
        if len(group) >= BATCH or size >= BATCH_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
