"""Rows to documents and back: which BSON type each Django field is, exactly.

| field | BSON | | field | BSON |
|---|---|---|---|---|
| Char, Text, Slug, URL, File, IP | string | | Decimal | Decimal128 (34 digits) |
| Integer, SmallInteger, Auto | int32 | | UUID | binary, subtype 4 |
| BigInteger, BigAuto, Duration (microseconds) | int64 | | Binary | binary |
| UnsignedBigInteger (`sync.models`) | Decimal128 | | | |
| Boolean | bool | | Time | string, ISO 8601 |
| Float | double | | JSON, Document | what it holds |
| DateTime, Date | date (UTC) | | ForeignKey | as the key it points to |

A date holds milliseconds; the microseconds below them are kept in `_sync.us`. NULL is an absent field.
"""

import datetime
import functools
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import bson
from bson import Binary, Decimal128, Int64, ObjectId
from bson.binary import UuidRepresentation
from django.core.exceptions import ValidationError
from django.core.files import File
from django.db import models
from django.utils import timezone

from sync.core import causal
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.columns import JSON_NULL
from sync.mapping.extended_json import to_extended_json
from sync.mapping.fields import DocumentField, ObjectIdField, UnsignedBigIntegerField

INT32 = range(-(2**31), 2**31)
INT64 = range(-(2**63), 2**63)
UTC = datetime.UTC


class MappingError(ValueError):
    """A value that the other side cannot hold exactly. The message names the field and the reason."""


M = TypeVar("M", bound=models.Model)


class Codec(NamedTuple):
    """Converts one kind of field to BSON and back. Both functions raise ValueError or TypeError with the reason."""

    to_bson: Callable[[Any], Any]
    from_bson: Callable[[Any], Any]


def _expect(*types: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) not in types:
            raise TypeError(f"{_type_name(value)} where {_type_names(types)} is expected")
        return value

    return check


TYPE_NAMES = {
    str: "string", int: "int32", Int64: "int64", float: "double", bool: "bool", datetime.datetime: "date",
    dict: "object", list: "array", Decimal128: "decimal", ObjectId: "objectId", Binary: "binary", bytes: "binary",
    type(None): "null",
}  # fmt: skip


def _type_names(types: tuple[type, ...]) -> str:
    return " or ".join(dict.fromkeys(TYPE_NAMES.get(kind, kind.__name__) for kind in types))


def _type_name(value: Any) -> str:
    if type(value) is int and value not in INT32:
        return "int64"
    return _type_names((type(value),))


def _text(value: Any) -> str:
    if not isinstance(value, (str, File)):
        raise TypeError(f"{_type_name(value)} where string is expected")
    return str(value)


def _float(value: Any) -> float:
    if type(value) not in (float, int):
        raise TypeError(f"{_type_name(value)} where double is expected")
    return float(value)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{_type_name(value)} where binary is expected")
    return bytes(value)


def _within(value: int, limits: range) -> bool:
    if type(value) is int:
        return value in limits
    # For a number of another type, such as an IntegerChoices, `in range` would search linearly.
    return int(value) == value and int(value) in limits


def _int32(value: int) -> int:
    if type(value) is int and -(2**31) <= value < 2**31:
        return value
    if not _within(value, INT32):
        raise ValueError(f"{value} does not fit int32; use a BigIntegerField")
    return int(value)


def _int64(value: int) -> Int64:
    if not _within(value, INT64):
        raise ValueError(f"{value} does not fit BSON's 64-bit integer; use an UnsignedBigIntegerField")
    return Int64(value)


def _from_int32(value: Any) -> int:
    if type(value) is not int or value not in INT32:
        raise TypeError(f"{_type_name(value)} where int32 is expected")
    return value


def _from_int64(value: Any) -> int:
    if type(value) is not Int64 and (type(value) is not int or value in INT32):
        raise TypeError(f"{_type_name(value)} where int64 is expected")
    return int(value)


def _datetime(value: datetime.datetime) -> datetime.datetime:
    value = value.replace(tzinfo=UTC) if timezone.is_naive(value) else value.astimezone(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _date(value: datetime.date) -> datetime.datetime:
    if type(value) is not datetime.date:
        raise TypeError(f"{_type_name(value)} where a day is expected")
    return datetime.datetime(value.year, value.month, value.day, tzinfo=UTC)


def _from_date(value: Any) -> datetime.date:
    moment = _expect(datetime.datetime)(value)
    if moment.time() != datetime.time():
        raise ValueError(f"{moment.isoformat()} is not a whole day")
    return moment.date()


def _decimal(value: Decimal) -> Decimal128:
    try:
        return Decimal128(value)
    except ArithmeticError:
        raise ValueError(f"{value} has more than the 34 digits, or the exponent, that Decimal128 holds") from None


def _from_whole_decimal(value: Any) -> int:
    number = _expect(Decimal128)(value).to_decimal()
    if not number.is_finite() or number != number.to_integral_value():
        raise ValueError(f"{number} is not a whole number")
    return int(number)


def _microseconds(value: datetime.timedelta) -> Int64:
    return _int64(value // datetime.timedelta(microseconds=1))


def _document(value: Any) -> Any:
    to_extended_json(value)  # refuses what cannot be stored
    return value


TEXT = Codec(_text, _expect(str))
INT = Codec(_int32, _from_int32)
LONG = Codec(_int64, _from_int64)
CODECS: dict[type[models.Field], Codec] = {
    ObjectIdField: Codec(ObjectId, lambda value: str(_expect(ObjectId)(value))),
    models.CharField: TEXT,
    models.TextField: TEXT,
    models.FileField: TEXT,
    models.FilePathField: TEXT,
    models.GenericIPAddressField: TEXT,
    models.BooleanField: Codec(_expect(bool), _expect(bool)),
    models.IntegerField: INT,
    models.AutoField: INT,
    models.BigIntegerField: LONG,
    UnsignedBigIntegerField: Codec(lambda value: Decimal128(Decimal(value)), _from_whole_decimal),
    models.PositiveBigIntegerField: LONG,
    models.PositiveIntegerField: LONG,  # unsigned on MySQL: up to 2**32 - 1
    models.BigAutoField: LONG,
    models.DurationField: Codec(_microseconds, lambda value: datetime.timedelta(microseconds=_from_int64(value))),
    models.FloatField: Codec(_float, _expect(float)),
    models.DecimalField: Codec(_decimal, lambda value: _expect(Decimal128)(value).to_decimal()),
    models.DateTimeField: Codec(_datetime, _expect(datetime.datetime)),
    models.DateField: Codec(_date, _from_date),
    models.TimeField: Codec(lambda value: value.isoformat(), lambda value: datetime.time.fromisoformat(value)),
    models.UUIDField: Codec(
        # Not a Binary: a value used to find an _id must equal what the driver returns.
        lambda value: value if isinstance(value, uuid.UUID) else uuid.UUID(value),
        lambda value: value if isinstance(value, uuid.UUID) else value.as_uuid(UuidRepresentation.STANDARD),
    ),
    models.BinaryField: Codec(_bytes, lambda value: bytes(_expect(bytes, Binary)(value))),
    # Its column holds only what BSON can store, and what comes from a document is validated with the other fields.
    DocumentField: Codec(lambda value: value, lambda value: value),
    models.JSONField: Codec(_document, _document),
}

# Fields that need no validation after their codec: it accepts one exact type, and they hold all of its values.
EXACT = (
    ObjectIdField,
    models.BooleanField,
    models.DateTimeField,
    models.DateField,
    models.FloatField,
    models.UUIDField,
)


def codec(field: Any) -> Codec | None:
    """The codec for `field`: its own (`to_bson`/`from_bson` methods) or that of its class; None if there is none."""
    while field.remote_field:
        field = field.target_field
    if hasattr(field, "to_bson"):
        return Codec(field.to_bson, field.from_bson)
    return next((CODECS[kind] for kind in type(field).__mro__ if kind in CODECS), None)


def known_codec(field: Any) -> Codec:
    """The codec for a field of a mirrored model. A system check reports fields without one."""
    found = codec(field)
    assert found is not None, f"{field} has no codec"
    return found


def pk_of(model: type[models.Model]) -> Any:
    """The field of the primary key. Every model with a table has one."""
    return model._meta.pk


def options_of(model: Any) -> Any:
    """The options that map rows to documents: the model's Mirror or Source."""
    return getattr(model, "mirror", None) or model.source


def has_own_mapping(model: Any) -> bool:
    """Whether the application makes the documents itself."""
    return not getattr(model.to_document, "is_default", False)


def mirrored_fields(model: type[models.Model]) -> list[tuple[str, models.Field]]:
    """The (name in the document, field) pairs of `model`, `_id` first: the columns of its own table.

    In multi-table inheritance parent and child are two rows, and so two documents.
    """
    options = options_of(model)
    left_out = {*options.exclude, options.extra}
    table = (model._meta.concrete_model or model)._meta
    rest = [field for field in table.local_concrete_fields if not field.primary_key and field.name not in left_out]
    return [("_id", pk_of(model)), *((field.attname, field) for field in rest)]


@functools.cache
def _readers(model: type[models.Model], options: Any) -> list[tuple[str, str, bool, Callable[[Any], Any]]]:
    """For each field of a document: its name there, the attribute, whether it may be null, and the function that reads
    BSON.
    """
    return [(name, field.attname, field.null, known_codec(field).from_bson) for name, field in mirrored_fields(model)]


@functools.cache
def _sure(model: type[models.Model]) -> list[str]:
    """Names of the fields for which every value that their codec reads is valid.

    Embedded documents of pulled models are among them: the puller encodes them right after, which checks all of it
    anyway.
    """
    kinds = (*EXACT, DocumentField) if hasattr(model, "source") else EXACT
    fields: list[Any] = [field for field in model._meta.concrete_fields if type(field) in kinds]
    return [
        field.name
        for field in fields
        if not (field.choices or field._validators) and (field.blank or type(field) is not DocumentField)
    ]


@functools.cache
def writers(model: type[models.Model], mirror: Any) -> list[tuple[str, str, Callable[[Any], Any]]]:
    """For each mirrored field: its name in the document, its attribute, and the function that makes it BSON."""
    return [(name, field.attname, known_codec(field).to_bson) for name, field in mirrored_fields(model)]


def document_of(row: Any) -> dict[str, Any]:
    """The document of a row that was read exactly (reading.py). Raises MappingError if a column cannot be read.

    Also raises what an application's own `to_document` raises.
    """
    if row.unreadable:
        left_out = set() if has_own_mapping(type(row)) else set(row.mirror.exclude)
        if reasons := [f"{name}: {why}" for name, why in row.unreadable.items() if name not in left_out]:
            raise MappingError("; ".join(reasons))
    with causal.pinned(row._state.db):
        document: dict[str, Any] = row.to_document()
    return document


def encode(document: dict[str, Any]) -> bytes:
    """The document as BSON. Raises MappingError with the name of a field that BSON cannot hold."""
    try:
        return bson.encode(document, codec_options=CODEC_OPTIONS)
    except Exception as error:  # UnicodeEncodeError, OverflowError, RecursionError, ...
        for name, value in document.items():
            try:
                bson.encode({"": value}, codec_options=CODEC_OPTIONS)
            except Exception as reason:
                raise MappingError(f"{name}: {reason}") from error
        raise MappingError(str(error)) from error


def to_document(instance: Any) -> dict[str, Any]:
    """The document of one row of a mirrored model, without `_sync.v`.

    Raises MappingError if BSON cannot hold a value exactly.
    """
    model: Any = type(instance)
    values = (_held(instance, attname) for _, attname, _ in writers(model, model.mirror))
    return assemble(model, values, getattr(instance, model.mirror.extra) if model.mirror.extra else None)


def _held(instance: Any, attname: str) -> Any:
    value = getattr(instance, attname)
    return JSON_NULL if value is None and attname in instance.json_nulls else value


def assemble(model: Any, values: Iterable[Any], others: Any) -> dict[str, Any]:
    """The document of these values, which are in the order of `writers`. others: the value of the field `extra`."""
    document: dict[str, Any] = {}
    microseconds: dict[str, int] = {}
    for (name, _, to_bson), value in zip(writers(model, model.mirror), values, strict=True):
        if value is None:
            continue
        if value is JSON_NULL:
            document[name] = None
            continue
        try:
            document[name] = to_bson(value)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise MappingError(f"{name}: {error}") from error
        if isinstance(value, datetime.datetime) and value.microsecond % 1000:
            microseconds[name] = value.microsecond % 1000
    if others and others is not JSON_NULL:
        _add(document, others, model.mirror.extra)
    if microseconds:
        document["_sync"] = {"us": microseconds}
    return document


def _add(document: dict[str, Any], others: Any, extra: str) -> None:
    """Adds the fields that a row holds in its field `extra`."""
    if not isinstance(others, dict):
        raise MappingError(f"{extra}: {_type_name(others)} where object is expected")
    if "_sync" in others:
        raise MappingError(f"{extra}: it holds a field _sync, a name that the mirror reserves")
    for name, value in others.items():
        if document.setdefault(name, value) is not value and value is not None:
            _require_same(name, document[name], value, extra)


def _require_same(name: str, column: Any, value: Any, extra: str) -> None:
    """Two values for one field of the document must be equal: neither may be lost."""
    ours, theirs = (bson.encode({"": each}, codec_options=CODEC_OPTIONS) for each in (column, value))
    if ours != theirs:
        raise MappingError(
            f"{name}: the column and {extra} hold different values. "
            f"Keep one of them; to move all of {extra}'s into the column, use sync.operations.MoveFromExtra"
        )


def from_document(model: type[M], document: dict[str, Any]) -> M:
    """The unsaved row for `document`. Raises MappingError for a missing field, a wrong type or an unknown field.

    Fields that the model does not have go into its `extra` field, if it declares one. So does an explicit null, which a
    column could not distinguish from an absent field.
    """
    rest = dict(document)
    sync = rest.pop("_sync", {})
    if not isinstance(sync, dict):
        raise MappingError(f"_sync: {_type_name(sync)} where object is expected")
    microseconds = sync.get("us")
    microseconds = microseconds if isinstance(microseconds, dict) else {}
    values: dict[str, Any] = {}
    options = options_of(model)
    for name, attname, null, from_bson in _readers(model, options):
        if rest.get(name) is None:
            if not null:
                raise MappingError(f"{name}: {'null' if name in rest else 'missing'}")
            values[attname] = None
            continue
        value = rest.pop(name)
        try:
            value = from_bson(value)
        except (ValueError, TypeError, AttributeError) as error:
            raise MappingError(f"{name}: {error}") from error
        if isinstance(value, datetime.datetime) and isinstance(microseconds.get(name), int):
            value += datetime.timedelta(microseconds=microseconds[name])
        values[attname] = value
    extra = options.extra
    if extra:
        try:
            values[extra] = _document(rest)
        except ValueError as error:
            raise MappingError(str(error)) from error
    elif rest:
        raise MappingError(f"unknown field {', '.join(sorted(rest))}")
    instance = model(**values)
    absent = [field.name for field in model._meta.fields if getattr(instance, field.attname) is None]
    try:
        instance.clean_fields(exclude={*absent, *options.exclude, *_sure(model)})
    except ValidationError as error:
        reasons = (f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items())
        raise MappingError("; ".join(reasons)) from error
    return instance
