"""Following: brings a target in sync with one MongoDB collection, and keeps it in sync.

The protocol, for one collection and one follower at a time (the target's lease ensures that):

1. Take a resume token of the change stream, and save it with the identity of its server: no later change can be missed.
2. Snapshot: read the collection in order of `_id` and write what differs. The position is saved with each batch.
3. Prune: look up the target's keys in the source, and remove those that are gone. The stream reports later what is
deleted or restored meanwhile.
4. Streaming: take the next events, read the current documents they are about, write what differs, and save the stream's
new token in one transaction with what was written.

No data is taken from an event: it only names a key. The document is read afterwards, from what the majority of the
members have, in its state at the time of the event or later. So everything may be read and written twice, after a crash
at any point, and an earlier state never follows a later one.

Steps 1 to 3 are repeated if the server has lost the history after the token, if another server responds that does not
have the last event, or if the collection is dropped, renamed or replaced. A drop deletes every document, so it empties
the target. But a collection that is missing without a drop having been seen is taken for a mistake in the address, and
nothing is removed.

A follower that was frozen while another took over is stopped by the target, which accepts writes only from the holder
of the lease.
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
from django.db import DEFAULT_DB_ALIAS
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
)
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)
T = TypeVar("T")

KEEP = 2.0  # seconds between two saves of a stream's token while nothing happens
STALE = 10.0  # seconds for which a primary may have lost an election without knowing it
RETRY = 60.0  # seconds between two retries of dead letters


@dataclass(frozen=True)
class ReplicationState:
    """The state of a checkpoint.

    token: of the change stream; None before step 1. history: whose token it is. after: the last key written in step 2.
    dropped: the pass was started by a drop or a rename, so a missing collection is an empty one.
    """

    phase: Literal["snapshot", "prune", "streaming"] = "snapshot"
    token: dict[str, Any] | None = None
    after: Key | None = None
    dropped: bool = False
    history: History = UNKNOWN

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ReplicationState:
        """Reads what `as_state` wrote; an empty state is the start. Ignores other names in the state."""
        phase = state.get("phase") or "snapshot"
        after = state.get("after")
        return cls(
            FORMER_PHASES.get(phase, phase), state.get("token"), bytes(after) if after else None,
            state.get("dropped", False), History(**state.get("history") or {}),
        )  # fmt: skip

    def as_state(self) -> dict[str, Any]:
        """As BSON can hold it."""
        return {**dataclasses.asdict(self), "after": Binary(self.after) if self.after else None}


# The names of the phases in copies made by versions before 0.9.
FORMER_PHASES: dict[str, Any] = {"documents": "snapshot", "extras": "prune", "following": "streaming"}


class Target(Protocol):
    """What is kept in sync. Every method may raise LeaseLost, Paused, and whatever its database raises."""

    name: str

    def position(self) -> ReplicationState:
        """The saved position; Position() if there is none yet, or if everything has to be compared again."""

    def write(self, documents: Documents, position: ReplicationState) -> int:
        """Writes what differs, saves the position and extends the lease: all or nothing. Returns how many differed.

        A document that the target cannot hold becomes a dead letter with the reason, until it is written.
        """

    def count(self) -> int:
        """How many `keys` there are."""

    def keys(self) -> Iterator[Key]:
        """The keys of everything the target has, also of its dead letters; they may change meanwhile."""

    def oldest_dead_letters(self) -> list[Key]:
        """A batch of keys that it could not hold, those that were not retried for longest first."""


class Replicator:
    """Follows until `stop` is set, which any thread may do."""

    def __init__(self, collection: Collection[Any], target: Target, stop: StopEvent | None = None) -> None:
        self.collection = collection
        self.target = target
        self.stop = stop or StopEvent()
        self.on_write: Callable[[int, int], None] = lambda seen, written: None
        self.retried_at = time.monotonic()
        self.kept_at = float("-inf")
        self.in_sync_at: float | None = None  # by time.time(): the target has everything that changed before

    @property
    def behind(self) -> float | None:
        """Seconds that the target is behind the source; None during a comparison."""
        return None if self.in_sync_at is None else max(time.time() - self.in_sync_at, 0.0)

    def catch_up(self) -> None:
        """Runs until the target has everything that had changed when this was called."""
        self._follow(once=True)

    def run(self) -> None:
        """Runs until stopped. Raises what a server raises; call it again to continue."""
        self._follow(once=False)

    def _follow(self, once: bool) -> None:
        is_done = False
        while not (is_done or self.stop.is_set()):
            with self.collection.database.client.start_session(causal_consistency=True) as session, suppress(Replaced):
                self._follow_server(ChangeStream(self.collection, session), once)
                is_done = True

    def _follow_server(self, stream: ChangeStream, once: bool) -> None:
        """Follows as long as the same server responds. Raises Replaced."""
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
        """Steps 1 to 3, from where they were interrupted. Returns the position where they finished or stopped."""
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
            for batch in ahead(stream.scan(position.after)):
                position = dataclasses.replace(position, after=next(reversed(batch)))
                self._write(dict(batch), position)
                seen += len(batch)
                if self.stop.is_set():
                    return position
            position = dataclasses.replace(position, phase="prune", after=None)
            # Each document read is in the target now. If the target has no more than these, there are no orphans.
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
        """Step 4. Returns whether the goal is reached; False if stopped."""
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
        """Writes the current documents of these keys. The new position is saved when all are written."""
        parts = stream.fetch(keys, newest)
        part = next(parts)
        for later in parts:
            self._write(part, before)
            part = later
        self._write(part, position)

    def _write(self, documents: Documents, position: ReplicationState) -> None:
        written = self.target.write(documents, position)
        self.kept_at = time.monotonic()
        self.on_write(len(documents), written)


class StaleClient:
    """What to do after an outage: reconnect, and at times with a new client.

    A client refuses a primary that was elected before one that it has known. If such a primary stays, it belongs to
    another replica set or an older backup, and only a new client connects to it.
    """

    def __init__(self, connect_anew: Callable[[], None]) -> None:
        self.connect_anew = connect_anew
        self.since: float | None = None

    def __call__(self, error: Exception) -> None:
        forget_connection(DEFAULT_DB_ALIAS)
        self.since = (self.since or time.monotonic()) if "marked stale" in str(error) else None
        if self.since and time.monotonic() - self.since > STALE:
            self.connect_anew()
            self.since = None


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yields the items; a thread prepares the next one while one is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, "reading ahead") as thread:
        coming = thread.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, iterator, None)
            yield item


def groups(keys: Iterable[Key]) -> Iterator[list[Key]]:
    """Groups of keys, BATCH or BATCH_BYTES at a time: an `_id` can be as large as a document."""
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
