"""Steps 2 to 4 of delivery for keys of one model: read the versions, read the rows, write where the version is
unchanged.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import bson
import pymongo
from bson import Int64
from bson.raw_bson import RawBSONDocument
from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from sync.core import conf
from sync.core.batching import bisect, chunks
from sync.mapping.composed import documents_of
from sync.mapping.documents import MappingError, encode, known_codec, pk_of
from sync.mapping.registry import Target
from sync.mongodb import bulk_merge, sharding
from sync.mongodb.bulk_merge import Replacement, is_kept
from sync.mongodb.client import clock, collection
from sync.mongodb.errors import SERVERS_FAULT, Unavailable, reason, words
from sync.outbox.majority import MAJORITY
from sync.outbox.versions import Seen, read_versions

if TYPE_CHECKING:
    from django.db.models import Model


MAX_BSON_SIZE = 16 * 1024 * 1024
ONE = WriteConcern(1)
exclusive = False  # see Writer
NEVER = Int64(-1)  # a version that no document has
LAST_VERSION = 2**62  # beyond any clock: a version that another program wrote
DUPLICATE_KEY, CONVERSION_FAILURE, TOO_DEEP, INVALID_BSON, TOO_LARGE = 11000, 241, 15, 22, 10334


class Refused(Exception):
    """MongoDB rejects all of these writes because of one of them."""


class State(enum.Enum):
    """The outcome of one key."""

    DELIVERED = "delivered"  # the document matches the row
    DELETED = "deleted"  # neither row nor document
    CONFLICT = "conflict"  # another writer wrote the document meanwhile, or the deadline passed: retry
    REJECTED = "rejected"  # this row cannot be written; the reason says why


@dataclass
class Outcome:
    """Keys (as text) by outcome, and the reasons of rejected keys."""

    states: dict[str, State] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def reject(self, key: str, why: str) -> None:
        self.states[key] = State.REJECTED
        self.reasons[key] = why


class Fenced(Exception):
    """Another process has taken over, and this one must not deliver any more. The message is one line."""


class Writer(Protocol):
    """Delivers keys to MongoDB (this module), Kafka (sync.kafka.publisher) or files.

    exclusive: only one process at a time delivers, whatever happens, and only one of its threads.
    """

    exclusive: bool

    def deliver(self, target: Target, keys: Collection[str], using: str, token: str) -> Outcome:
        """See `deliver` below. Raises Unavailable, OperationalError, InterfaceError, Fenced."""

    def confirmed(self, target: Target, tokens: Mapping[str, str]) -> set[str]:
        """See `confirmed` below. Not called on an exclusive writer."""


def confirmed(target: Target, tokens: Mapping[str, str]) -> set[str]:
    """The keys whose document, as the majority has it, was written by the delivery with the key's token.

    Raises Unavailable.
    """
    outcome = Outcome()
    ids = _ids(target.model, tokens, outcome)
    try:
        documents = collection(target).with_options(read_concern=ReadConcern("majority"))
        found = documents.find({"_id": {"$in": list(ids.values())}}, {"_sync.by": 1}, batch_size=len(ids) + 1)
        by = {document["_id"]: document["_sync"].get("by") for document in found if _is_ours(document)}
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error
    return {key for key, _id in ids.items() if by.get(_id) == tokens[key]}


def _is_ours(document: dict[str, Any]) -> bool:
    return isinstance(document.get("_sync"), dict)


def deliver(target: Target, keys: Collection[str], using: str, token: str, *, majority: bool = True) -> Outcome:
    """Steps 2 to 4 for `keys`, any number that fits into memory.

    token: of the writer, stored in `_sync.by`. majority: wait until no failover can undo the writes.
    Callers limit the time with pymongo.timeout, by which MongoDB also ends the writes: none arrives later.
    Raises Unavailable if MongoDB is unreachable, OperationalError or InterfaceError if the database is, and
    ProgrammingError if its tables are not the models' (during a deployment, for example).
    Any other failure is the fault of some row: the keys are bisected until it is found, and that row is rejected.
    """
    if majority:  # inline delivery leaves the question to the relay that confirms it
        sharding.require_keys(target.queue)
    outcome = bisecting(lambda part: _deliver(target, part, using, token, majority), keys)
    if not majority:
        MAJORITY.wait_for(target)
    return outcome


def bisecting(act: Callable[[Sequence[str]], Outcome], keys: Collection[str]) -> Outcome:
    """`act` on all keys. If it fails and no server is to blame, bisects to find the row at fault and rejects it."""
    outcome = Outcome()
    for part in bisect(list(keys), act, lambda key, error: outcome.reject(key, explain(error)), _is_refusal):
        outcome.states |= part.states
        outcome.reasons |= part.reasons
    return outcome


def _is_refusal(error: Exception) -> bool:
    return not isinstance(error, Unavailable | Fenced | OperationalError | InterfaceError | ProgrammingError)


def _deliver(target: Target, keys: Collection[str], using: str, token: str, majority: bool) -> Outcome:
    outcome = Outcome()
    ids = _ids(target.model, keys, outcome)
    try:
        deadline = clock(target.queue).after(conf.LEASE)
        versions = read_versions(target, list(ids.values()))
        documents = read_documents(target, list(ids), using, outcome)
        writes = Writes(outcome, deadline, token)
        for key, _id in ids.items():
            if key not in outcome.reasons:
                writes.plan(key, _id, documents.get(key), versions.get(_id))
        writes.send(target, majority)
    except PyMongoError as error:
        clock(target.queue).forget()
        raise Unavailable(reason(error)) from error
    return outcome


def to_pk(model: type[Model], key: str) -> Any:
    """The primary key for a change's text. Raises what the field raises for a text that is not a key."""
    return pk_of(model).to_python(key)


def _ids(model: type[Model], keys: Collection[str], outcome: Outcome) -> dict[str, Any]:
    """The `_id` of each key; rejects a text that is not a key."""
    to_bson = known_codec(pk_of(model)).to_bson
    ids = {}
    for key in keys:
        try:
            ids[key] = to_bson(to_pk(model, key))
        except Exception as error:  # a field's to_python may raise anything; the other keys continue
            outcome.reject(key, f"_id: {error}")
    return ids


def read_documents(target: Target, keys: Sequence[str], using: str, outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Step 3: the documents of the committed rows that exist, by key as text.

    Rejects a key whose row cannot be read, or cannot become a document.
    """
    documents: dict[str, dict[str, Any]] = {}
    for part in chunks(keys):
        for found in bisect(
            part,
            lambda some: documents_of(target, some, using),
            lambda key, error: outcome.reject(key, explain(error)),
            lambda error: not isinstance(error, DatabaseError),
        ):
            for key, document in found.items():
                if isinstance(document, Exception):
                    outcome.reject(key, explain(document))
                else:
                    documents[key] = document
    return documents


class _Write(NamedTuple):
    """A document to put in the place of the one `seen`; to insert if none was."""

    key: str
    id: Any
    seen: Seen | None
    version: Int64
    document: RawBSONDocument

    def replacement(self) -> Replacement:
        return Replacement(self.id, self.seen.version if self.seen else 0, self.document)


class Writes:
    """The conditional writes of one delivery, and their outcomes."""

    def __init__(self, outcome: Outcome, deadline: Any, token: str) -> None:
        self.outcome = outcome
        self.token = token
        self.deadline = deadline
        self.inserts: list[_Write] = []
        self.replacements: list[_Write] = []
        self.single: list[_Write] = []  # writes that cannot be sent together with others
        self.operations: list[Any] = []
        self.keys: list[str] = []
        self.replaced: dict[Any, tuple[str, Int64]] = {}  # _id: key and the version to write
        self.deleted: dict[Any, str] = {}
        self.gone: dict[Any, str] = {}  # neither row nor document was found

    def plan(self, key: str, _id: Any, current: dict[str, Any] | None, seen: Seen | None) -> None:
        """Adds the write for one key. current: the row's document, read after the stored document was `seen`."""
        if current is None:
            self.outcome.states[key] = State.DELETED
            if seen is None:
                self.gone[_id] = key
            else:
                self.deleted[_id] = key
                self._add(key, pymongo.DeleteOne({"_id": _id, **seen.unchanged}))
            return
        version = _next_version(seen.version if seen else 0)
        try:
            document = _encode(current, version, self.token)
        except Exception as error:  # what BSON cannot hold; the other rows continue
            self.outcome.reject(key, explain(error))
            return
        self.outcome.states[key] = State.DELIVERED
        write = _Write(key, _id, seen, version, document)
        if seen is None and is_kept(current):
            self.inserts.append(write)
        elif seen is not None and seen.is_ours:
            self.replacements.append(write)
        else:
            self.single.append(write)

    def _add(self, key: str, operation: Any) -> None:
        self.operations.append(operation)
        self.keys.append(key)

    def send(self, target: Target, majority: bool) -> None:
        """Sends the writes that can be sent together, then all others in one unordered bulk.

        Raises PyMongoError if the writes are not confirmed as a whole.
        """
        documents = collection(target)
        if majority and not documents.database.client.is_mongos:
            self.inserts = self._together(
                target, self.inserts,
                lambda writes: bulk_merge.insert_before(self.deadline, documents, [each.document for each in writes]),
            )  # fmt: skip
            self.replacements = self._together(
                target, self.replacements,
                lambda writes: bulk_merge.replace_unchanged(documents, [each.replacement() for each in writes]),
            )  # fmt: skip
        for write in (*self.inserts, *self.replacements, *self.single):
            if write.seen is None:
                self._add(write.key, _insert_before(self.deadline, write.id, write.document))
            else:
                self.replaced[write.id] = (write.key, write.version)
                self._add(write.key, _replace_unchanged(write.id, write.seen, write.document))
        if self.operations:
            self._write(target, majority)
        if self.gone and majority:
            self._confirm_gone(target)

    def _together(self, target: Target, writes: list[_Write], send: Callable[[list[_Write]], bool]) -> list[_Write]:
        """Sends the writes in few commands, if there are enough of them. Returns those to be sent one by one."""
        if len(writes) < bulk_merge.FEWEST:
            return writes
        left = []
        for part in bulk_merge.parts([write.document for write in writes]):
            some = writes[part]
            if not send(some):
                # Some are written. The majority confirms them with the others, which are written after them.
                now = read_versions(target, [write.id for write in some])
                left += [write for write in some if not self._is_mine(now.get(write.id), write.version)] or some[:1]
        return left

    def _is_mine(self, now: Seen | None, version: Int64) -> bool:
        """Whether this delivery wrote the document. Another one may have chosen the same version."""
        return now is not None and (now.version, now.token) == (version, self.token)

    def _confirm_gone(self, target: Target) -> None:
        """Makes sure that the majority has no document either where none was found: a failover could restore it."""
        # A write that changes nothing still waits until the majority has everything that was written before it: on each
        # shard that any of the keys belongs to, so all of them are named.
        collection(target).delete_many({"_id": {"$in": list(self.gone)}, "_sync.v": NEVER})
        documents = collection(target).with_options(read_concern=ReadConcern("majority"))
        for document in documents.find({"_id": {"$in": list(self.gone)}}, {"_id": 1}, batch_size=len(self.gone) + 1):
            self.outcome.states[self.gone[document["_id"]]] = State.CONFLICT

    def _write(self, target: Target, majority: bool) -> None:
        try:
            documents = collection(target) if majority else collection(target).with_options(write_concern=ONE)
            result = documents.bulk_write(self.operations, ordered=False)
            replaced, deleted, errors = result.modified_count, result.deleted_count, []
        except BulkWriteError as error:
            details = error.details or {}
            errors = details.get("writeErrors", [])
            if details.get("writeConcernErrors"):
                raise
            replaced, deleted = details.get("nModified", 0), details.get("nRemoved", 0)
        except OperationFailure as error:
            if error.code in (TOO_DEEP, INVALID_BSON, TOO_LARGE):  # it could not even read the command
                raise Refused(_why(error.code, str(error))) from error
            raise
        for problem in errors:
            if problem["code"] in SERVERS_FAULT:
                raise Unavailable(words(problem["code"], problem["errmsg"]))
        for problem in errors:
            self._failed(target, self.keys[problem["index"]], problem)
        if replaced < len(self.replaced) or deleted < len(self.deleted):
            self._find_the_lost(target)

    def _failed(self, target: Target, key: str, problem: dict[str, Any]) -> None:
        by_id = set(problem.get("keyPattern", {})) == {"_id"}
        if (problem["code"] == DUPLICATE_KEY and by_id) or problem["code"] == CONVERSION_FAILURE:
            clock(target.queue).forget()  # too late by a clock that may have been set
            self.outcome.states[key] = State.CONFLICT
        else:
            self.outcome.reject(key, _why(problem["code"], problem["errmsg"]))

    def _find_the_lost(self, target: Target) -> None:
        # A bulk's result has counts but no keys, so the versions are read again.
        now = read_versions(target, [*self.replaced, *self.deleted])
        for _id, (key, version) in self.replaced.items():
            if self.outcome.states[key] is State.DELIVERED and not self._is_mine(now.get(_id), version):
                self.outcome.states[key] = State.CONFLICT
        for _id, key in self.deleted.items():
            if self.outcome.states[key] is State.DELETED and _id in now:
                self.outcome.states[key] = State.CONFLICT


def _next_version(seen: int) -> Int64:
    """Larger than `seen` and, while clocks move forward, than any version the key had: our microseconds."""
    now = time.time_ns() // 1000
    return Int64(max(now, seen + 1) if seen < LAST_VERSION else now)


def _encode(document: dict[str, Any], version: Int64, token: str) -> RawBSONDocument:
    """The document as BSON, each row by itself, so that a row that BSON cannot hold affects no other."""
    document["_sync"] = {"v": version, "by": token, **document.get("_sync", {})}
    raw = encode(document)
    if len(raw) > MAX_BSON_SIZE:
        raise MappingError(f"the document has {len(raw):,} bytes; MongoDB holds {MAX_BSON_SIZE:,}")
    return RawBSONDocument(raw)


def _replace_unchanged(_id: Any, seen: Seen, document: RawBSONDocument) -> Any:
    """Replaces the document with `_id` if its version is still the one `seen`."""
    if not seen.is_ours:
        return pymongo.ReplaceOne({"_id": _id, **seen.unchanged}, document)
    # The same as a filter on _id alone, which MongoDB resolves without planning a query: a third faster.
    unchanged = {"$eq": ["$_sync.v", seen.version]}
    return pymongo.UpdateOne({"_id": _id}, [{"$replaceWith": {"$cond": [unchanged, {"$literal": document}, "$$ROOT"]}}])


def _insert_before(deadline: Any, _id: Any, document: RawBSONDocument) -> pymongo.UpdateOne:
    """Inserts `document`, unless one exists by now (duplicate key) or `deadline` has passed (conversion failure)."""
    in_time = bulk_merge.in_time(deadline)
    pipeline = [{"$replaceWith": {"$cond": [in_time, {"$literal": document}, bulk_merge.FAIL]}}]
    return pymongo.UpdateOne({"_id": _id, "_sync.v": NEVER}, pipeline, upsert=True)


def _why(code: int, message: str) -> str:
    return "MongoDB: the document is nested deeper than 180 levels" if code == TOO_DEEP else f"MongoDB: {message}"


def explain(error: Exception) -> str:
    """Why one row is rejected, in one line."""
    if isinstance(error, (MappingError, Refused, bson.errors.BSONError, OverflowError)):
        return str(error)
    return f"{type(error).__name__}: {error}"
