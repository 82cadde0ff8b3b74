"""One MongoDB collection as a source to follow: its documents and its changes.

Documents are handled as bytes, because one that cannot be decoded must not stop the others. Each is identified by its
key: the BSON of `{"_id": ...}`, which is exact and hashable for any `_id`. Keys are cut out of documents and put into
filters as bytes, too, because an `_id` may be the part that cannot be decoded.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Collection as Several
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import bson
import pymongo
from bson import ObjectId, Timestamp, json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from sync.mapping.bson_options import CODEC_OPTIONS

Key = bytes
Documents = dict[Key, RawBSONDocument | None]  # None: the document does not exist

BATCH = 2000  # documents at a time,
BATCH_BYTES = 1_000_000  # or this many bytes of them: a document has up to 16 MB
WAIT = 0.2  # seconds that the server waits for an event before it responds without one,
GLANCE = 0.02  # or this many, if only past events are wanted

RAW: CodecOptions[RawBSONDocument] = CODEC_OPTIONS.with_options(document_class=RawBSONDocument)
# For displaying the key of an unreadable document: accepts any text and any date.
LENIENT = CODEC_OPTIONS.with_options(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)

# FailedToParse, Overflow, CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost, and
# two of the server's own assertions: its errors for a token that is too old or invalid.
LOST = {9, 15, 136, 260, 280, 286, 40647, 50811}
NO_REPLICA_SET = 40573
ENDS = {"drop", "rename", "dropDatabase", "invalidate"}
# Events without their documents, which are read later, in their state at that time.
SLIM: list[dict[str, Any]] = [{"$project": {"operationType": 1, "documentKey": 1, "clusterTime": 1}}]
# Bytes of each BSON type's values of fixed length; _value_end handles those with a length before them.
SIZES = {1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0}


class Size(NamedTuple):
    """The size of a batch: this many documents, or this many bytes of them."""

    documents: int
    bytes: int


DEFAULT = Size(BATCH, BATCH_BYTES)


@dataclass(frozen=True)
class History:
    """What was seen of the history that a token belongs to: a token alone does not identify its server.

    Another server at the address, or an older backup of the same one, accepts the token as well, and continues from
    some moment of its own clock.

    server: the process that responded, which has one history. event: `_data` of the last event's token; a server with
    that event has the same history up to it. uuid: of the collection. "" is unknown.
    """

    server: str = ""
    event: str = ""
    uuid: str = ""


UNKNOWN = History()


class HistoryLost(Exception):
    """The changes since a token are lost, or may not belong to this server's history. The message says why."""


class Replaced(Exception):
    """Another server responds, or another collection is written: start again from the saved position."""


class Invalidated(Exception):
    """The collection was dropped or renamed, or another one was renamed to its name."""


class NotFollowed(Exception):
    """This name cannot be followed. The message says why in one line."""


OBJECT_ID_FIRST = b"\x07_id\0"  # how nearly every document starts, after its length


def key_of(document: RawBSONDocument) -> Key:
    """The key of a document, even of one that cannot be decoded."""
    raw = document.raw
    if raw[4:9] == OBJECT_ID_FIRST:
        return b"\x16\0\0\0" + raw[4:21] + b"\0"
    raw = bytes(raw)  # the driver returns a view of a large one
    begin = 4
    while raw[begin]:
        name_end = raw.index(0, begin + 1)
        end = _value_end(raw, raw[begin], name_end + 1)
        if raw[begin + 1 : name_end] == b"_id":
            return _document(raw[begin:end])
        begin = end
    raise ValueError("a document without an _id")


def _value_end(raw: bytes, kind: int, begin: int) -> int:
    """The offset of the end of the value that starts there (https://bsonspec.org/spec.html)."""
    if kind in SIZES:
        return begin + SIZES[kind]
    if kind == 11:  # a regular expression: two texts
        return raw.index(0, raw.index(0, begin) + 1) + 1
    [length] = struct.unpack_from("<i", raw, begin)
    # A document, an array and code with a scope include the length itself; text, a pointer and bytes do not.
    more = {2: 4, 13: 4, 14: 4, 12: 16, 5: 5, 3: 0, 4: 0, 15: 0}[kind]
    return int(begin + length + more)


def _document(elements: bytes) -> bytes:
    return struct.pack("<i", len(elements) + 5) + elements + b"\0"


def is_(key: Key) -> RawBSONDocument:
    """A filter for the document of a key."""
    return RawBSONDocument(key)


def is_one_of(keys: Iterable[Key]) -> RawBSONDocument:
    """A filter for the documents of these keys."""
    values = b"".join(key[4:5] + b"%d\0" % number + key[9:-1] for number, key in enumerate(keys))
    return RawBSONDocument(_document(b"\x03_id\0" + _document(b"\x04$in\0" + _document(values))))


def to_key(value: Any) -> Key:
    return bson.encode({"_id": value}, codec_options=CODEC_OPTIONS)


def from_key(key: Key) -> Any:
    """The `_id`. Raises BSONError if it cannot be decoded."""
    return bson.decode(key, CODEC_OPTIONS)["_id"]


def in_words(key: Key) -> str:
    """A document's `_id` for display, in 255 characters at most."""
    value = bson.decode(key, LENIENT)["_id"]
    text = str(value) if isinstance(value, (str, ObjectId)) else json_util.dumps(value)
    return text if len(text) <= 255 else f"{text[:254]}…"


def in_batches(documents: Iterable[RawBSONDocument], most: Size = DEFAULT) -> Iterator[dict[Key, RawBSONDocument]]:
    """The documents by key, in batches bounded in number and bytes."""
    batch: dict[Key, RawBSONDocument] = {}
    size = 0
    for document in documents:
        batch[key_of(document)] = document
        size += len(document.raw)
        if len(batch) >= most.documents or size >= most.bytes:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def scan(
    collection: Collection[RawBSONDocument],
    after: Key | None,
    session: ClientSession | None = None,
    most: Size = DEFAULT,
    **options: Any,
) -> Iterator[dict[Key, RawBSONDocument]]:
    """All documents in the order of `_id`, from `after` (inclusive) on, in batches."""
    # Bounds of the index, because {"$gt": 5} would match numbers only, and a collection may have `_id`s of any types.
    found = collection.find(session=session, sort=[("_id", 1)], hint=[("_id", 1)], batch_size=BATCH, **options)
    if after:
        with suppress(BSONError):  # from the start, then: more is read, and nothing is missed
            found = found.min([("_id", from_key(after))])
    with found as cursor:
        yield from in_batches(cursor, most)


class Events:
    """An open change stream. HistoryLost is the server's response to a token, here and in ChangeStream.events."""

    def __init__(self, source: ChangeStream, stream: Any) -> None:
        self.source = source
        self.stream = stream
        self.last = ""  # `_data` of the last event's token

    @property
    def token(self) -> dict[str, Any]:
        """Where to continue after what was taken."""
        return dict(self.stream.resume_token)

    def poll(self) -> tuple[list[Key], Timestamp | None]:
        """The keys that changed next, and the time of the last change; waits a while for the first.

        Raises Invalidated, and Replaced if the driver resumed the stream on another server.
        """
        keys: dict[Key, None] = {}
        newest, size, ended = None, 0, False
        end = time.monotonic() + WAIT
        while (event := self.next()) is not None:
            if ended := event["operationType"] in ENDS:
                break
            key = key_of(event["documentKey"])
            keys[key] = None
            newest, self.last = event["clusterTime"], event["_id"]["_data"]
            size += len(key)
            if len(keys) >= BATCH or size >= BATCH_BYTES or time.monotonic() > end:
                break
        self.source.require_same_server()
        if ended:
            raise Invalidated
        return list(keys), newest

    def require(self, event: str) -> None:
        """Moves to this event, at whose time the stream was opened. Raises HistoryLost if there is no such event."""
        goal = self.source.latest()
        while self.last != event:
            found = self.next()
            if found is not None and moment_of(found["_id"]["_data"]) == moment_of(event):
                self.last = found["_id"]["_data"]
            elif found is not None or self.token["_data"] >= goal:
                raise HistoryLost("another server responds, and it does not have the last change that was applied")
        self.source.require_same_server()

    def next(self) -> Any:
        """The next event; None if there is none within the time that the stream waits. Raises HistoryLost."""
        try:
            return self.stream.try_next()
        except OperationFailure as error:
            raise _as_lost(error) from error


def moment_of(token: str) -> int:
    """The time in a token's `_data`: seconds, and in the lower 32 bits a counter. Raises HistoryLost."""
    try:
        return int(token[2:18], 16)
    except ValueError as error:
        raise HistoryLost(f"{token!r} is not a resume token") from error


def _as_lost(error: OperationFailure) -> Exception:
    return HistoryLost((error.details or {}).get("errmsg", str(error))) if error.code in LOST else error


class ChangeStream:
    """Reads what the majority of the members have, in a session: a read is never older than an earlier one.

    Opened again after every failure: a session must not wait for a time that only a lost primary knew.
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
        self.client = collection.database.client
        self.server = str(self.client.admin.command("hello", session=session)["topologyVersion"]["processId"])

    def require_same_server(self) -> None:
        """Raises Replaced unless the process that responds is the one that did when this was opened."""
        topology = self.client.topology_description
        is_direct = topology.topology_type_name == "Single"
        answering = {
            str(server.topology_version["processId"])
            for server in topology.server_descriptions().values()
            if server.topology_version and (server.is_writable or is_direct)
        }
        if self.server not in answering:
            raise Replaced

    def history(self) -> History:
        """The history of changes from now on."""
        return History(self.server, uuid=self.uuid())

    def uuid(self) -> str:
        """The collection's; "" if it does not exist."""
        infos = self.plain.database.list_collections(filter={"name": self.plain.name}, session=self.session)
        return next((str(info["info"].get("uuid", "")) for info in infos), "")

    def kind(self) -> str | None:
        """None for a collection; "absent"; or what else has this name: a view, a time series, a capped collection."""
        infos = self.plain.database.list_collections(filter={"name": self.plain.name}, session=self.session)
        return kind_of(next(iter(infos), None))

    def require_followable(self) -> None:
        """Raises NotFollowed for what has no change stream, or an incomplete one."""
        kind = self.kind()
        if kind not in (None, "absent"):
            raise NotFollowed(f"{self.name} is a {kind}. MongoDB reports changes of collections only.")

    def now(self) -> dict[str, Any]:
        """A token for all changes from now on.

        A change that arrives while the stream is opened may come before the token: its document is read afterwards.
        """
        with self.events(None) as events:
            if events.stream.resume_token is None:  # the response that opened the stream has changes
                events.next()
            return events.token

    def latest(self) -> str:
        """The least `_data` of a token that has seen everything written until now.

        Tokens compare as text (a sharded cluster merges its shards' streams this way) and start with their time. A
        fresh stream's own token would not do: its time comes only with the next write.
        """
        now = self.plain.database.client.admin.command("ping", session=self.session)["operationTime"]
        return f"82{now.time:08X}{now.inc:08X}"

    @contextmanager
    def events(
        self, token: dict[str, Any] | None, wait: float = WAIT, since: Timestamp | None = None
    ) -> Iterator[Events]:
        """The changes since `token` or a time, or from now on, open while the block lasts. Raises HistoryLost."""
        try:
            stream = self.raw.watch(
                SLIM, resume_after=token, start_at_operation_time=since, max_await_time_ms=int(wait * 1000),
                batch_size=BATCH, session=self.session,
            )  # fmt: skip
        except OperationFailure as error:
            if error.code == NO_REPLICA_SET:
                raise NotFollowed(f"{self.name}: its server is not a replica set and has no change streams.") from error
            raise (_as_lost(error) if token or since else error) from error
        with stream:
            yield Events(self, stream)

    @contextmanager
    def resume(self, token: dict[str, Any], history: History, wait: float = WAIT) -> Iterator[Events]:
        """The changes since `token`, once it is certain that it belongs to this server's history.

        The process that issued it has one history. Any other must have the last event, and the stream continues from
        there. Raises HistoryLost, and Invalidated if another collection has the name.
        """
        if history.server == self.server:
            # A fresh stream's token is of the moment after the latest.
            if moment_of(token["_data"]) > moment_of(self.latest()) + 1:
                raise HistoryLost("the server's time is before the last change that was applied")
            opened = self.events(token, wait)
        elif history.event:
            since = Timestamp(*divmod(moment_of(history.event), 2**32))
            opened = self.events(None, wait, since=since)
        else:
            raise HistoryLost("another server responds than before, and no change is known to exist on both")
        with opened as events:
            if history.server != self.server:
                events.require(history.event)
            events.last = history.event
            if history.uuid and (uuid := self.uuid()) and uuid != history.uuid:
                raise Invalidated
            yield events

    def scan(self, after: Key | None, most: Size = DEFAULT) -> Iterator[dict[Key, RawBSONDocument]]:
        return scan(self.raw, after, self.session, most)

    def fetch(self, keys: Several[Key], since: Timestamp | None = None) -> Iterator[Documents]:
        """The current documents of these keys, in batches; the last batch has those that do not exist.

        since: they are at least as new as this, whichever member is primary.
        """
        if since:
            self.session.advance_operation_time(since)
        missing = dict.fromkeys(keys)
        found: Documents = {}
        for batch in in_batches(self.raw.find(is_one_of(keys), session=self.session, batch_size=BATCH)):
            if found:
                yield found
            found = dict(batch)
            for key in batch:
                missing.pop(key, None)
        yield found | dict(missing)

    def existing(self, keys: Several[Key]) -> set[Key]:
        """Those of the keys that have a document."""
        return {key_of(found) for found in self.raw.find(is_one_of(keys), {"_id": 1}, session=self.session)}


def kind_of(info: Any) -> str | None:
    """What an entry of listCollections is, unless it is a collection that can be followed (None)."""
    if info is None:
        return "absent"
    if info["type"] != "collection":
        return {"timeseries": "time series"}.get(info["type"], info["type"])
    return "capped collection" if info["options"].get("capped") else None
