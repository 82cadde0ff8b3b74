"""One MongoDB collection as a source to follow: what it holds, and what changes in it.

Documents pass through here as the bytes they are, because a single one that cannot be decoded must not stop the
others. Each goes by its key: the BSON of `{"_id": ...}`, which is exact, and fit for a dict whatever the `_id` is.
"""

from __future__ import annotations

import time
from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import bson
import pymongo
from bson import ObjectId, Timestamp, json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from sync.mongo import CODEC_OPTIONS

Key = bytes
Documents = dict[Key, RawBSONDocument | None]  # None: there is no such document

BATCH = 2000  # documents at once,
BATCH_BYTES = 1_000_000  # or so many bytes of them: a document has up to 16 MB
WAIT = 0.2  # seconds that the server waits for an event before it says that there is none,
GLANCE = 0.02  # or so many, where only what has happened already is wanted

RAW: CodecOptions[RawBSONDocument] = CODEC_OPTIONS.with_options(document_class=RawBSONDocument)
# For finding the key of what cannot be read: any text and any date will do.
LENIENT = CODEC_OPTIONS.with_options(
    unicode_decode_error_handler="ignore", datetime_conversion=DatetimeConversion.DATETIME_MS
)

# FailedToParse, Overflow, CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost, and
# two assertions of the server's own: what it says of a token that is too old, or is none.
LOST = {9, 15, 136, 260, 280, 286, 40647, 50811}
NO_REPLICA_SET = 40573
ENDS = {"drop", "rename", "dropDatabase", "invalidate"}
# Events without the documents that they are about: these are read when it is their turn, as they are then.
SLIM: list[dict[str, Any]] = [{"$project": {"operationType": 1, "documentKey": 1, "clusterTime": 1}}]


class TokenLost(Exception):
    """The server does not have the changes since this token any more."""


class Ended(Exception):
    """The collection was dropped or renamed, or another was renamed to its name."""


class NotFollowed(Exception):
    """What has this name cannot be followed. Says why in one line."""


OBJECT_ID_FIRST = b"\x07_id\0"  # how nearly every document begins, behind its length


def key_of(document: RawBSONDocument) -> Key:
    """The key of a document, also of one that cannot be decoded."""
    raw = document.raw
    if raw[4:9] == OBJECT_ID_FIRST:
        return b"\x16\0\0\0" + raw[4:21] + b"\0"
    return bson.encode({"_id": bson.decode(document.raw, LENIENT)["_id"]}, codec_options=CODEC_OPTIONS)


def to_key(value: Any) -> Key:
    return bson.encode({"_id": value}, codec_options=CODEC_OPTIONS)


def from_key(key: Key) -> Any:
    """The `_id`."""
    return bson.decode(key, CODEC_OPTIONS)["_id"]


def in_words(key: Key) -> str:
    """A document's `_id` as a person writes it, in 255 characters at most."""
    value = from_key(key)
    text = str(value) if isinstance(value, (str, ObjectId)) else json_util.dumps(value)
    return text if len(text) <= 255 else f"{text[:254]}…"


def in_batches(documents: Iterable[RawBSONDocument]) -> Iterator[dict[Key, RawBSONDocument]]:
    """The documents by key, bounded in number and in bytes."""
    batch: dict[Key, RawBSONDocument] = {}
    size = 0
    for document in documents:
        batch[key_of(document)] = document
        size += len(document.raw)
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def scan(
    collection: Collection[RawBSONDocument], after: Key | None, session: ClientSession | None = None, **options: Any
) -> Iterator[dict[Key, RawBSONDocument]]:
    """All documents in the order of `_id` from `after` on, itself included, in batches."""
    # Bounds of the index, because {"$gt": 5} would see numbers only, and a collection may have `_id`s of any types.
    found = collection.find(session=session, sort=[("_id", 1)], hint=[("_id", 1)], batch_size=BATCH, **options)
    with found.min([("_id", from_key(after))]) if after else found as cursor:
        yield from in_batches(cursor)


class Events:
    """An open change stream. What the server says of a token is raised as TokenLost, here and by Feed.events."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    @property
    def token(self) -> dict[str, Any]:
        """Where to go on after what was taken."""
        return dict(self.stream.resume_token)

    def take(self) -> tuple[list[Key], Timestamp | None]:
        """The keys that changed next, and the time of the last change; waits a while for the first. Raises Ended."""
        keys: dict[Key, None] = {}
        newest = None
        end = time.monotonic() + WAIT
        while (event := self._next()) is not None:
            if event["operationType"] in ENDS:
                raise Ended
            keys[to_key(event["documentKey"]["_id"])] = None
            newest = event["clusterTime"]
            if len(keys) >= BATCH or time.monotonic() > end:
                break
        return list(keys), newest

    def _next(self) -> Any:
        try:
            return self.stream.try_next()
        except OperationFailure as error:
            raise _as_lost(error) from error


def _as_lost(error: OperationFailure) -> Exception:
    return TokenLost((error.details or {}).get("errmsg", str(error))) if error.code in LOST else error


class Feed:
    """Reads what the majority of the members have, in a session: what is read is never older than what was before.

    Opened anew after every failure: a session must not wait for a time that only a lost primary knew.
    """

    def __init__(self, collection: Collection[Any], session: ClientSession) -> None:
        self.session = session
        self.name = collection.full_name
        self.plain = collection.with_options(
            codec_options=CODEC_OPTIONS,
            read_concern=ReadConcern("majority"),
            read_preference=pymongo.ReadPreference.PRIMARY,
        )
        self.raw: Collection[RawBSONDocument] = self.plain.with_options(codec_options=RAW)

    def kind(self) -> str | None:
        """None for a collection; "absent"; or what else has this name: a view, a time series, a capped collection."""
        infos = self.plain.database.list_collections(filter={"name": self.plain.name}, session=self.session)
        return kind_of(next(iter(infos), None))

    def require_followable(self) -> None:
        """Raises NotFollowed for what has no change stream, or one that does not tell all."""
        kind = self.kind()
        if kind not in (None, "absent"):
            raise NotFollowed(f"{self.name} is a {kind}, whose changes MongoDB does not tell; only collections are.")

    def now(self) -> dict[str, Any]:
        """A token for all that changes from now on."""
        with self.events(None) as events:
            return events.token

    def latest(self) -> str:
        """The least `_data` of a token that has seen all that is written until now.

        Tokens compare as text (a sharded cluster merges its shards' streams by that), and begin with their time. A
        fresh stream's own token would not do: it is of a moment that only the next write brings.
        """
        now = self.plain.database.client.admin.command("ping", session=self.session)["operationTime"]
        return f"82{now.time:08X}{now.inc:08X}"

    @contextmanager
    def events(self, token: dict[str, Any] | None, wait: float = WAIT) -> Iterator[Events]:
        """The changes since `token`, or from now on, open while the block lasts. Raises TokenLost."""
        try:
            stream = self.plain.watch(
                SLIM, resume_after=token, max_await_time_ms=int(wait * 1000), batch_size=BATCH, session=self.session
            )
        except OperationFailure as error:
            if error.code == NO_REPLICA_SET:
                raise NotFollowed(f"{self.name}: its server is no replica set, and has no change streams.") from error
            raise (_as_lost(error) if token else error) from error
        with stream:
            yield Events(stream)

    def scan(self, after: Key | None) -> Iterator[dict[Key, RawBSONDocument]]:
        return scan(self.raw, after, self.session)

    def fetch(self, keys: Several[Key], since: Timestamp | None = None) -> Iterator[Documents]:
        """The documents of these keys as they are now, in batches; the last has those that do not exist.

        since: what they are at least as new as, whichever member is primary.
        """
        if since:
            self.session.advance_operation_time(since)
        missing = dict.fromkeys(keys)
        found: Documents = {}
        for batch in in_batches(
            self.raw.find({"_id": {"$in": [from_key(key) for key in keys]}}, session=self.session, batch_size=BATCH)
        ):
            if found:
                yield found
            found = dict(batch)
            for key in batch:
                missing.pop(key, None)
        yield found | dict(missing)

    def existing(self, keys: Several[Key]) -> set[Key]:
        """Those of the keys that have a document."""
        wanted = {"_id": {"$in": [from_key(key) for key in keys]}}
        return {to_key(found["_id"]) for found in self.plain.find(wanted, {"_id": 1}, session=self.session)}


def kind_of(info: Any) -> str | None:
    """What an entry of listCollections is, other than a collection that can be followed (None)."""
    if info is None:
        return "absent"
    if info["type"] != "collection":
        return {"timeseries": "time series"}.get(info["type"], info["type"])
    return "capped collection" if info["options"].get("capped") else None
