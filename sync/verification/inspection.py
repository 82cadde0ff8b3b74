"""One row beside its documents, for `sync trace` and the record page: read in bounded time, compared as by verify."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
import pymongo
from bson import json_util
from django.db import models
from django.utils.translation import gettext_noop
from pymongo.errors import PyMongoError

from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.diff import LENIENT, FieldDifference, field_differences
from sync.mapping.documents import encode
from sync.mapping.embeds import embeds
from sync.mapping.registry import Target, mirrored_models, targets
from sync.mapping.registry import label as label_of
from sync.mongodb.errors import reason
from sync.outbox import fan_out
from sync.outbox.mirrored import MirroredModel
from sync.outbox.models import Change
from sync.verification.models import Mismatch
from sync.verification.scan import KeyMismatch, Scan

TIMEOUT = 2.0  # seconds for all of MongoDB's part
CHANGES = 50  # displayed
LONGEST = 4000  # characters displayed of one value
TOO_DEEP = "nested too deeply to display"
JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED, tz_aware=True,
    uuid_representation=CODEC_OPTIONS.uuid_representation,
    datetime_conversion=bson.codec_options.DatetimeConversion.DATETIME_AUTO,
)  # fmt: skip


@dataclass
class Field:
    """One field of the document on both sides, in Extended JSON; None if a side does not have it."""

    name: str
    row: str | None
    document: str | None
    differences: list[FieldDifference]


class Verdict(enum.Enum):
    """The verdict on a row and its document, wherever the two are compared."""

    EQUAL = gettext_noop("in sync")
    GONE = gettext_noop("deleted in both databases")
    DIFFERENT = gettext_noop("different")
    UNMAPPABLE = gettext_noop("the row cannot become a document")
    UNKNOWN = gettext_noop("unknown")


@dataclass
class Side:
    """A row beside its document at one target.

    error: why MongoDB did not respond; then nothing else is known.
    mismatch: how they differ; None if they are in sync.
    document: the stored document without `_sync`; None if there is none.
    written_at, written_by: of the last delivery, from the document's `_sync`.
    """

    target: Target
    verdict: Verdict
    error: str = ""
    mismatch: KeyMismatch | None = None
    document: dict[str, Any] | None = None
    written_at: datetime.datetime | None = None
    written_by: str = ""
    fields: list[Field] = field(default_factory=list)

    @property
    def has_document(self) -> bool:
        return self.document is not None


@dataclass
class Inspection:
    """Everything that is known of one key.

    document: the row's, without `_sync`; None if there is no row.
    problem: why the row cannot become a document; then `plain` has its columns.
    changes: of the key, and fan-outs that have yet to deliver its document.
    """

    model: type[MirroredModel]
    key: str
    row: MirroredModel | None
    document: dict[str, Any] | None
    problem: str
    plain: list[tuple[str, str]]
    sides: list[Side]
    changes: list[Change]
    found: list[Mismatch]

    @property
    def exists(self) -> bool:
        """Whether the key exists in either database."""
        is_unknown = any(side.error for side in self.sides)
        return bool(self.row or self.changes or is_unknown or any(side.has_document for side in self.sides))


def find_model(label: str) -> type[MirroredModel]:
    """The mirrored model with this label. Raises LookupError."""
    for model in mirrored_models():
        if label_of(model) == label:
            return model
    raise LookupError(f"{label} is not a mirrored model")


def find_key(model: type[MirroredModel], text: str) -> str:
    """The key that a user typed, as changes store it. Raises ValueError if it cannot be a key of the model."""
    pk: Any = model._meta.pk
    try:
        value = pk.to_python(text)
        pk.run_validators(value)
        if value in (None, "") or "\0" in text:
            raise ValueError("empty")
    except Exception as error:  # a field's to_python may raise anything
        raise ValueError(f"{text} is not a key of {label_of(model)}") from error
    return str(value)


def inspect(
    model: type[MirroredModel], key: str, using: str = "default", at: Collection[Target] | None = None
) -> Inspection:
    """Reads the row, its documents and its changes. Reports an unreachable MongoDB instead of raising.

    at: only these targets of the model.
    """
    places = [target for target in targets(model) if at is None or target in at]
    labels = [target.label for target in places]
    scan = Scan(places[0] if places else Target(model), using)
    row = scan.rows([key]).get(key)
    expected, problem, plain = _expected(scan, row)
    of_key = Change.objects.using(using).filter(model__in=labels, key=key, until="").order_by("recorded_at")
    changes = list(of_key[:CHANGES])
    for target in filter(embeds, places):
        changes += fan_out.of_document(target, key, CHANGES, using)
    found = Mismatch.objects.using(using).filter(model__in=labels, key=key).order_by("model")
    with pymongo.timeout(TIMEOUT):
        sides = [_side(target, key, row, expected, using) for target in places if target.kind.readable]
    document = None if row is None or problem else _without_sync(expected)
    return Inspection(model, key, row, document, problem, plain, sides, changes, list(found))


def _expected(scan: Scan, row: MirroredModel | None) -> tuple[dict[str, Any], str, list[tuple[str, str]]]:
    """The row's document, or the reason why it has none and its columns."""
    if row is None:
        return {}, "", []
    try:
        document = scan.expected(row)
        encode(document)
        return document, "", []
    except Exception as error:  # an application's own mapping may raise anything
        return {}, str(error) or type(error).__name__, [(name, _shorten(text)) for name, text in plain_columns(row)]


def plain_columns(row: models.Model) -> list[tuple[str, str]]:
    """By field name, the column's value as text for display; what cannot be read, as the database has it."""
    return [(each.name, _plain(row, each)) for each in row._meta.concrete_fields]


def _plain(row: models.Model, column: Any) -> str:
    value = getattr(row, column.attname)
    try:
        text = str(value if value is None or isinstance(value, str) else column.value_to_string(row))
    except Exception:  # if no document can hold it, the field may not be able to write it, either
        try:
            text = repr(value)
        except RecursionError:
            text = TOO_DEEP
    return text.encode(errors="backslashreplace").decode()


def _without_sync(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "_sync"}


def _side(target: Target, key: str, row: MirroredModel | None, expected: dict[str, Any], using: str) -> Side:
    sides = Scan(target, using)
    if embeds(target):
        row = sides.rows([key]).get(key)
        expected, _, _ = _expected(sides, row)
    try:
        stored = sides.documents([key]).get(key)
    except PyMongoError as error:
        return Side(target, Verdict.UNKNOWN, error=reason(error), fields=_fields(expected, {}, ()))
    document = bson.decode(stored, codec_options=LENIENT) if stored else {}
    mismatch = sides.mismatch(key, row, stored)
    side = Side(
        target, _verdict(mismatch, row), mismatch=mismatch, document=_without_sync(document) if stored else None
    )
    if isinstance(own := document.get("_sync"), dict):
        side.written_at, side.written_by = _moment(own.get("v")), str(own.get("by", ""))[:50]
    differences = field_differences(expected, stored) if mismatch and stored and expected else ()
    side.fields = _fields(expected, document, differences)
    return side


def _verdict(mismatch: KeyMismatch | None, row: MirroredModel | None) -> Verdict:
    if mismatch is None:
        return Verdict.GONE if row is None else Verdict.EQUAL
    return Verdict.UNMAPPABLE if mismatch.kind == "unmappable" else Verdict.DIFFERENT


def _fields(row: dict[str, Any], document: dict[str, Any], differences: Sequence[FieldDifference]) -> list[Field]:
    names = [name for name in {**row, **document} if name != "_sync"]
    return [
        Field(name, _text(row, name), _text(document, name), [each for each in differences if _is_in(each.path, name)])
        for name in names
    ]


def _is_in(path: str, name: str) -> bool:
    escaped = name.replace("\\", "\\\\").replace(".", "\\.")
    return path == escaped or path.startswith(f"{escaped}.")


def as_json(value: Any) -> str:
    """Extended JSON, for display."""
    try:
        return json_util.dumps(value, json_options=JSON, ensure_ascii=False)
    except RecursionError:
        return TOO_DEEP


def _text(document: dict[str, Any], name: str) -> str | None:
    if name not in document:
        return None
    value = document[name]
    return _shorten(value if isinstance(value, str) else as_json(value))


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _moment(version: Any) -> datetime.datetime | None:
    """A version is the microsecond in which it was made."""
    try:
        return datetime.datetime.fromtimestamp(version / 1e6, datetime.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
