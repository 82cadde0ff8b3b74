"""Reads rows and documents in order of the key or by key, a chunk at a time."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import MaxKey, MinKey, ObjectId, json_util
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion
from bson.errors import InvalidId
from bson.json_util import JSONMode, JSONOptions
from bson.raw_bson import RawBSONDocument
from django.db.models import IntegerField, Q, QuerySet

from sync.core.batching import chunks
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.composed import documents_of
from sync.mapping.diff import LENIENT, FieldDifference, field_differences, is_equal, kind
from sync.mapping.documents import codec, document_of
from sync.mapping.embeds import embeds
from sync.mapping.fields import ObjectIdField
from sync.mapping.reading import literal
from sync.mapping.registry import Target, all_rows
from sync.mongodb.client import collection
from sync.outbox import fan_out
from sync.outbox.models import Change
from sync.verification.strict import Proof

if TYPE_CHECKING:
    from sync.outbox.mirrored import MirroredModel

TEXT = JSONOptions(
    json_mode=JSONMode.CANONICAL, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    uuid_representation=UuidRepresentation.STANDARD,
)  # fmt: skip
RAW = CODEC_OPTIONS.with_options(document_class=RawBSONDocument)
RAW_LENIENT = LENIENT.with_options(document_class=RawBSONDocument)
CHUNK = 1000  # most rows, documents or keys read at a time
CHUNK_BYTES = 4 * 1024 * 1024  # of documents in one chunk of rows, if they are as large as the previous ones
OBJECT_ID = b"\x07_id\0"  # BSON for: an ObjectId named _id
FIRST_CHUNK = 10  # rows, before their size is known
RANGES = 100  # of a backfill, in one query
RANGE = 5000  # rows that one of several processes compares at a time


@dataclass(frozen=True)
class KeyMismatch:
    """One key that differs.

    key: as text; for an `_id` that cannot be a key of the model, the `_id` in Extended JSON.
    kind: missing (no document), extra (no row), different, type or order (in `fields`), or unmappable: BSON cannot hold
    the row, and the one field's path says why.
    orphan: the stored document if its `_id` cannot be a key, so that no delivery will ever reach it.
    """

    key: str
    kind: str
    fields: tuple[FieldDifference, ...] = ()
    orphan: bytes | None = None


class Slice(NamedTuple):
    """One range of keys on both sides: the rows by key, and the documents as BSON, read as they are used."""

    rows: dict[str, MirroredModel]
    documents: Iterator[bytes]
    end: str | None  # the key where the next one starts; None: it is the last


class Look(NamedTuple):
    """What was read of one key."""

    key: str
    row: MirroredModel | None
    pending: bool
    document: bytes | None  # as BSON


class Scan:
    """Reads a model's rows and a target's documents. Every method is one round trip, or a generator of them.

    strict: rows are read a second time, as the columns' own texts (strict.py), and compared with these, too.
    """

    def __init__(self, target: Target, using: str, *, strict: bool = False) -> None:
        self.model = model = target.model
        self.target = target
        self.using = using
        self.label = target.label
        self.pk: Any = model._meta.pk
        self.codec: Any = codec(self.pk)
        self.all_rows = all_rows(model, using)
        self.changes = Change.objects.using(using).filter(model=self.label, failed=False)
        self.proof = Proof(model, using) if strict else None
        self.size = FIRST_CHUNK  # rows and documents in memory at a time; adapts to their size
        # Whether keys have the same order in both databases. That of text depends on the collation.
        field: Any = self.pk
        while field.remote_field:
            field = field.target_field
        self.object_ids = type(field) is ObjectIdField
        self.ordered = isinstance(field, (ObjectIdField, IntegerField)) and not hasattr(field, "to_bson")

    @functools.cached_property
    def collection(self) -> Any:
        """The documents, as their bytes. Raises NoClient."""
        return collection(self.target).with_options(codec_options=RAW)

    def ranges(self, start: str = "") -> Iterator[tuple[str, str]]:
        """The keys where ranges of about RANGE rows start and end; "" is before the first row and after the last."""
        keys = self.all_rows.order_by("pk").values_list("pk", flat=True)
        last, end_id = start, MinKey()
        while True:
            rest = keys.filter(pk__gt=literal(self.pk, last)) if last else keys
            found = rest[RANGE - 1 : RANGE].first()
            if found is None:
                break
            last = str(found)
            if self.ordered:
                before, end_id = end_id, self._bound(self.pk.to_python(last), end_id)
                if end_id == before:
                    continue  # no range ends at such a key
            yield start, last
            start = last
        yield start, ""

    def slices(self, start: str = "", end: str = "") -> Iterator[Slice]:
        """Both sides in order of the key from `start` up to `end`, in ranges without gaps; for `ordered` models."""
        rows = self.all_rows.order_by("pk")
        if end:
            rows = rows.filter(pk__lt=self.pk.to_python(end))
        lower: Any = self.pk.to_python(start) if start else None
        lower_id = self._bound(lower, MinKey()) if start else MinKey()
        while True:
            size = self.size
            chunk = list((rows if lower is None else rows.filter(pk__gte=lower))[: size + 1])
            by_key = self._by_key(chunk[:size])
            if len(chunk) <= size:
                upper_id = self.codec.to_bson(self.pk.to_python(end)) if end else None
                yield Slice(by_key, self._between(lower_id, upper_id), end or None)
                return
            lower = chunk[size].pk
            upper_id = self._bound(lower, lower_id)
            if upper_id == lower_id:  # no range ends at such a key; the next one that can will cover it, too
                yield Slice(by_key, iter(self.documents(by_key).values()), str(lower))
            else:
                yield Slice(by_key, self._between(lower_id, upper_id), str(lower))
            lower_id = upper_id

    def _bound(self, pk: Any, before: Any) -> Any:
        """The `_id` of a row at which a range after `before` may end; `before` if it is not a key of the model."""
        try:
            _id = self.codec.to_bson(pk)
        except (ValueError, TypeError, InvalidId):
            return before
        return _id if _id > before else before

    def _between(self, lower: Any, upper: Any) -> Iterator[bytes]:
        """The documents from `lower` on and below `upper` (None: all the rest), with ids of any type."""
        # A range of the index, unlike a comparison with $gt, does not end where another type of `_id` starts.
        ends = {"min": {"_id": lower}} | ({} if upper is None else {"max": {"_id": upper}})
        yield from self._stored({}, hint=[("_id", 1)], batch_size=self.size + 2, **ends)
        if upper is None:
            # Such a range excludes its upper end, the one _id that is greater than all others.
            yield from self._stored({"_id": MaxKey()})

    def _stored(self, query: dict[str, Any], **options: Any) -> Iterator[bytes]:
        for batch in self.collection.find_raw_batches(query, **options):
            documents = list(_split(batch))
            self._adapt(len(batch), len(documents))
            yield from documents

    def _adapt(self, length: int, count: int) -> None:
        if count:
            self.size = max(1, min(CHUNK_BYTES * count // length, 2 * self.size, CHUNK))

    def row_chunks(self, after: str = "", until: str = "") -> Iterator[dict[str, MirroredModel]]:
        """All rows in order of their key, those after `after` up to `until`, by key."""
        rows = self.all_rows.order_by("pk")
        if until:
            rows = rows.filter(pk__lte=literal(self.pk, until))
        last: Any = after or None
        while chunk := list((rows if last is None else rows.filter(pk__gt=literal(self.pk, last)))[: self.size]):
            yield self._by_key(chunk)
            last = chunk[-1].pk

    def look(self, keys: Iterable[str]) -> Iterator[Look]:
        """Reads each key, a few at a time: first the row, then whether changes are pending, then the document."""
        rest = list(keys)
        while rest:
            some, rest = rest[: self.size], rest[self.size :]
            rows, pending, documents = self.rows(some), self.pending(some), self.documents(some)
            for key in some:
                yield Look(key, rows.get(key), key in pending, documents.get(key))

    def id_chunks(self, start: Any = None) -> Iterator[list[Any]]:
        """All documents' ids in MongoDB's order, of any type, from `start` on."""
        lower = MinKey() if start is None else start
        while True:
            found = self.collection.find(
                {}, {"_id": 1}, sort=[("_id", 1)], hint=[("_id", 1)], min={"_id": lower}, limit=CHUNK + 1
            )  # the hint alone orders the documents of one shard, not those of several
            chunk = [id_of(document.raw) for document in found]
            if len(chunk) <= CHUNK:
                last = self.collection.find({"_id": MaxKey()}, {"_id": 1})
                yield chunk + [id_of(document.raw) for document in last]
                return
            yield chunk[:CHUNK]
            lower = chunk[-1]

    def sample_keys(self, count: int) -> list[str]:
        """The keys of `count` random rows, or of all if there are fewer."""
        return [str(pk) for pk in self.all_rows.order_by("?").values_list("pk", flat=True)[:count]]

    def sample_ids(self, count: int) -> list[Any]:
        """The ids of `count` random documents."""
        found = self.collection.aggregate([{"$sample": {"size": count}}, {"$project": {"_id": 1}}], allowDiskUse=True)
        return [id_of(document.raw) for document in found]

    def rows(self, keys: Collection[str]) -> dict[str, MirroredModel]:
        return self._by_key(self._matching(keys))

    def _by_key(self, rows: Iterable[Any]) -> dict[str, MirroredModel]:
        by_key = {str(row.pk): row for row in rows}
        if by_key and embeds(self.target):
            documents = documents_of(self.target, list(by_key), self.using)
            by_key = {key: row for key, row in by_key.items() if key in documents}  # without rows deleted meanwhile
            for key, row in by_key.items():
                row.composed = documents[key]
        if self.proof and by_key:
            texts = self.proof.texts(by_key)
            for key, row in by_key.items():
                row.texts = texts.get(key)
        return by_key

    def present(self, keys: Collection[str]) -> set[str]:
        """Those of `keys` that have a row."""
        return {str(pk) for pk in self._matching(keys).values_list("pk", flat=True)}

    def _matching(self, keys: Collection[str]) -> QuerySet[Any]:
        return self.all_rows.filter(pk__in=[literal(self.pk, key) for key in keys])

    def documents(self, keys: Collection[str]) -> dict[str, bytes]:
        """The documents of `keys`, as BSON."""
        ids = []
        for key in keys:
            with suppress(Exception):  # a row whose key is invalid has no document
                ids.append(self.codec.to_bson(self.pk.to_python(key)))
        return self.documents_by_id(ids)

    def documents_by_id(self, ids: list[Any]) -> dict[str, bytes]:
        """The documents with these ids, as BSON; by key, or by the `_id` in Extended JSON if it cannot be one."""
        found = self._stored({"_id": {"$in": ids}}, batch_size=len(ids) + 1)
        named = ((self.key_of(document), document) for document in found)
        return {to_text(id_of(document)) if key is None else key: document for key, document in named}

    def pending(self, keys: Collection[str]) -> set[str]:
        """Those of `keys` that are still to be delivered: they have changes of their own, or belong to a backfill's
        range or to a fan-out.
        """
        single = set(self.changes.filter(key__in=list(keys), until="").values_list("key", flat=True))
        ranges = self.changes.exclude(until="").filter(via="").values_list("key", "until")
        for some in chunks(list(ranges), RANGES):
            covered = Q()
            for after, until in some:
                below = Q(pk__gt=literal(self.pk, after)) if after else Q()
                covered |= below & Q(pk__lte=literal(self.pk, until))
            rows = self._matching(keys).filter(covered)
            single.update(str(pk) for pk in rows.values_list("pk", flat=True))
        for change in self.changes.exclude(via=""):
            with suppress(LookupError):  # the mapping has changed since, and with it a backfill is planned
                concerned = fan_out.keys_of(self.target, change, self.using)
                named = [literal(self.pk, key) for key in keys]
                single.update(str(pk) for pk in concerned.filter(pk__in=named))
        return single

    def key_of(self, document: bytes) -> str | None:
        """`key` of a stored document."""
        if self.object_ids and document.startswith(OBJECT_ID, 4):
            return document[9:21].hex()
        return self.key(id_of(document))

    def key(self, _id: Any) -> str | None:
        """The key of the row that a document with this `_id` belongs to; None if no row can have it."""
        try:
            return str(self.codec.from_bson(_id))
        except (TypeError, ValueError, AttributeError):
            pass
        try:  # MongoDB treats numbers as the same _id whatever their type
            pk = self.pk.to_python(_id)
            same = type(_id) is not bool and self.codec.to_bson(pk) == _id
        except Exception:  # a field's to_python may raise anything
            return None
        return str(pk) if same else None

    def expected(self, row: Any) -> dict[str, Any]:
        """The document of a row that this scan has read. Raises whatever makes it impossible."""
        if not embeds(self.target):
            return document_of(row)
        if isinstance(row.composed, Exception):
            raise row.composed
        return row.composed

    def mismatch(self, key: str, row: Any, document: bytes | None) -> KeyMismatch | None:
        """How the two differ; None if they are equal, type for type."""
        if row is None:
            return None if document is None else KeyMismatch(key, "extra")
        try:
            expected = self.expected(row)
            if is_equal(expected, document or b""):
                fields = self.proof.differences(row.texts, document or b"") if self.proof else ()
                return KeyMismatch(key, "different", fields) if fields else None
        except Exception as error:  # an application's own mapping may raise anything; the other rows continue
            return KeyMismatch(key, "unmappable", (FieldDifference(str(error) or repr(error), "unmappable"),))
        if document is None:
            return KeyMismatch(key, "missing")
        fields = field_differences(expected, document)
        return KeyMismatch(key, kind(fields), fields)


def _split(batch: bytes) -> Iterator[bytes]:
    """The documents that a batch consists of: each starts with its length."""
    at = 0
    while at < len(batch):
        end = at + int.from_bytes(batch[at : at + 4], "little")
        yield batch[at:end]
        at = end


def id_of(document: bytes) -> Any:
    """The `_id` of a stored document. It is the first field: MongoDB puts it there."""
    if document.startswith(OBJECT_ID, 4):
        return ObjectId(document[9:21])
    return RawBSONDocument(document, RAW_LENIENT)["_id"]


def to_text(_id: Any) -> str:
    """An `_id` of any type in Extended JSON, which distinguishes the types."""
    return json_util.dumps(_id, json_options=TEXT, ensure_ascii=False)


def from_text(text: str) -> Any:
    # Not as a UUID: MongoDB accepts one of any length.
    return json_util.loads(text, json_options=TEXT.with_options(uuid_representation=UuidRepresentation.UNSPECIFIED))


def fingerprint(document: bytes | None) -> bytes:
    """A document in 16 bytes, to see whether it has changed."""
    return b"" if document is None else hashlib.blake2b(document, digest_size=16).digest()
