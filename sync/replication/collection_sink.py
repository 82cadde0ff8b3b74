"""A MongoDB collection as the target of a copy. sync/replication/replicator.py describes the protocol.

The checkpoint is stored next to the copy (see collection_checkpoint.py). The same collection has one document for each
dead letter: a document that the destination rejects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from bson import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from sync.core.batching import bisect
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mongodb.change_stream import BATCH, RAW, Documents, Key, Size, is_, is_one_of, key_of
from sync.mongodb.collection_spec import Kept, info_of
from sync.mongodb.errors import SERVERS_FAULT
from sync.replication.collection_checkpoint import MAJORITY, CollectionCheckpoint
from sync.replication.replicator import ReplicationState


class NotOurs(Exception):
    """The destination has documents that were not copied from this source."""


class CollectionSink:
    """The destination collection as a target. Every write requires the lease of its checkpoint, and extends it.

    source: the namespace of the source collection. route, paused: see CollectionCheckpoint.
    """

    most = Size(10_000, 4_000_000)  # each transaction waits for the journal, so there should be few

    def __init__(
        self, destination: Collection[Any], source: str, route: str = "", paused: Callable[[], bool] = lambda: False
    ) -> None:
        self.checkpoint = CollectionCheckpoint(destination.database, destination.name, route, paused)
        self.name = f"the collection {destination.full_name}"
        self.client = destination.database.client
        self.plain = destination.with_options(codec_options=CODEC_OPTIONS, **MAJORITY)
        self.raw: Collection[RawBSONDocument] = self.plain.with_options(codec_options=RAW)
        self.states: Collection[dict[str, Any]] = self.checkpoint.documents
        self.id = destination.name
        self.source = source
        self.has_refused = False

    # --- position ----------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Forgets the position, so that the next pass compares every document."""
        self.checkpoint.forget("token", "phase", "after", "dropped", "history")

    def is_known(self) -> bool:
        """Returns whether the destination is already a copy of this source."""
        return self.checkpoint.find().get("source") == self.source

    def own(self, *, replace: bool) -> bool:
        """Marks the destination as a copy of this source. Returns whether that is new, so that all must be compared.

        Raises NotOurs if it has documents that were not copied from this source, unless `replace` is set.
        """
        state = self.checkpoint.load()
        if state.get("source") != self.source and not replace and self.plain.find_one({}, {"_id": 1}) is not None:
            raise NotOurs(
                f"{self.plain.full_name} has documents that were not copied from {self.source}: --replace makes it a "
                "copy, and deletes whatever the source does not have."
            )
        info = info_of(self.plain)
        identity = {"source": self.source, "uuid": info and info["info"].get("uuid")}
        if all(state.get(name) == value for name, value in identity.items()):
            return False
        # The source is another one, or the destination was dropped and created again: compare everything.
        self.forget()
        self.checkpoint.save(identity)
        return True

    def kept(self) -> Kept:
        state = self.checkpoint.find()
        return Kept(state.get("indexes", []), dict(state.get("expires", [])))

    def keep(self, kept: Kept) -> None:
        self.checkpoint.save({"indexes": kept.indexes, "expires": [[*pair] for pair in kept.expires.items()]})

    def end(self) -> None:
        """Removes the checkpoint, its lease and the dead letters: the destination is no longer a copy."""
        self.states.delete_many(self._refused())
        self.checkpoint.end()

    def position(self) -> ReplicationState:
        state = self.checkpoint.load()
        self.has_refused = self.states.find_one(self._refused()) is not None
        return ReplicationState.from_state(state)

    # --- writing -----------------------------------------------------------------------------------------------------

    def prepare(self, documents: Documents) -> Documents:
        return documents

    def write(self, documents: Documents, position: ReplicationState) -> int:
        reasons: dict[Key, str] = {}
        try:
            return self._write(documents, position, reasons)
        except BulkWriteError as error:
            if not _is_refusal(error):
                raise
        # The destination rejects some documents. Write the others under the old position, which is safe to repeat, and
        # save the new position only after that, together with the dead letters.
        before = self.position()
        written = self._each(list(documents.items()), before, reasons)
        if len(reasons) > 1:
            written += self._exchange({key: documents[key] for key in reasons}, before, reasons)
        self._write({}, position, reasons)
        return written

    def _write(
        self, documents: Documents, position: ReplicationState, reasons: dict[Key, str], *, reinsert: bool = False
    ) -> int:
        """Writes in one transaction. reinsert: delete and insert existing documents, instead of replacing them."""

        def act(session: ClientSession) -> int:
            self.checkpoint.save(position.as_state(), session)
            operations = self._operations(documents, session, reinsert) if documents else []
            if operations:
                self.raw.bulk_write(operations, session=session, bypass_document_validation=True)
            self._remember(documents, reasons, session)
            return len(operations)

        with self.client.start_session() as session:
            return session.with_transaction(act, ReadConcern("snapshot"), WriteConcern("majority"))

    def _operations(self, documents: Documents, session: ClientSession, reinsert: bool) -> list[Any]:
        """Returns the writes that bring the destination in sync. Deletes come first, to free unique values."""
        there = self.present(list(documents), session)
        # MongoDB treats 5, NumberLong(5) and 5.0 as the same `_id`, so `there` may have a key that was not requested.
        deletes: list[Any] = [DeleteOne(is_(key)) for key in there if reinsert or documents.get(key) is None]
        replaces: list[Any] = []
        inserts: list[Any] = []
        for key, document in documents.items():
            if document is None:
                continue
            if key not in there or reinsert:
                inserts.append(InsertOne(document))
            elif there[key].raw != document.raw:
                replaces.append(ReplaceOne(is_(key), document))
        return deletes + replaces + inserts

    def present(self, keys: list[Key], session: ClientSession | None = None) -> dict[Key, RawBSONDocument]:
        """Returns the destination's documents with these keys."""
        found = self.raw.find(is_one_of(keys), session=session, batch_size=BATCH)
        return {key_of(document): document for document in found}

    def _each(self, items: list[tuple[Key, Any]], before: ReplicationState, reasons: dict[Key, str]) -> int:
        """Writes all at once, or bisects if the destination rejects some. Returns the number written."""

        def refuse(item: tuple[Key, Any], error: Any) -> None:
            reasons[item[0]] = error.details["writeErrors"][0]["errmsg"]

        return sum(bisect(items, lambda some: self._write(dict(some), before, {}), refuse, _is_refusal))

    def _exchange(self, documents: Documents, before: ReplicationState, reasons: dict[Key, str]) -> int:
        """Writes documents that swap unique values. None of them can be written first: delete all, then insert all."""
        try:
            written = self._write(documents, before, {}, reinsert=True)
        except BulkWriteError as error:
            if not _is_refusal(error):
                raise
            return 0
        reasons.clear()
        return written

    # --- dead letters ------------------------------------------------------------------------------------------------

    def _refused(self) -> dict[str, Any]:
        return {"copy": self.id}

    def _remember(self, documents: Documents, reasons: dict[Key, str], session: ClientSession) -> None:
        if self.has_refused and documents:
            fit = [self._refused_id(key) for key in documents if key not in reasons]
            self.states.delete_many({"_id": {"$in": fit}}, session=session)
        for key, reason in reasons.items():
            values = {"copy": self.id, "reason": reason, "tried": time.time()}
            self.states.update_one({"_id": self._refused_id(key)}, {"$set": values}, upsert=True, session=session)
            self.has_refused = True

    def _refused_id(self, key: Key) -> dict[str, Any]:
        return {"copy": self.id, "key": Binary(key)}

    def refused(self) -> Iterator[tuple[Key, str]]:
        """Yields the dead letters with their reasons, the longest untried first."""
        for state in self.states.find(self._refused(), sort=[("tried", 1)]):
            yield bytes(state["_id"]["key"]), state["reason"]

    def oldest_dead_letters(self) -> list[Key]:
        return [
            bytes(state["_id"]["key"]) for state in self.states.find(self._refused(), sort=[("tried", 1)]).limit(BATCH)
        ]

    def count(self) -> int:
        return self.plain.count_documents({}, hint=[("_id", 1)]) + self.states.count_documents(self._refused())

    def keys(self) -> Iterator[Key]:
        for found in self.raw.find({}, {"_id": 1}, sort=[("_id", 1)], hint=[("_id", 1)]):
            yield key_of(found)
        yield from (key for key, _ in self.refused())


def _is_refusal(error: Exception) -> bool:
    """Returns whether single documents caused the error. Otherwise the server failed, and a retry may succeed."""
    if not isinstance(error, BulkWriteError):
        return False
    problems = (error.details or {}).get("writeErrors") or [{"code": None}]
    return not any(problem["code"] in SERVERS_FAULT or problem["code"] is None for problem in problems)
