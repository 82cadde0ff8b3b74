"""The proof of `sync verify --strict`: compares each column's own text with the stored document, without driver and
ORM.

The database turns every column into text itself and sends it in hexadecimal digits, so that no converter of a driver,
of Django or of a field takes part. The document is decoded by BSON's library, and each of its values is turned into the
text that its column must have. A value that delivery has altered cannot look equal here.

Fields that an application maps itself (`to_document`, or a field with `to_bson`) cannot be checked this way;
`unchecked` names them.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import bson
from bson import Binary, Decimal128, Int64, ObjectId, json_util
from bson.binary import UUID_SUBTYPE
from bson.json_util import JSONMode, JSONOptions
from django.db import connections, models

from sync.core import causal
from sync.core.batching import chunks
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.diff import LENIENT, FieldDifference
from sync.mapping.documents import has_own_mapping, mirrored_fields
from sync.mapping.fields import DocumentField

INT32 = range(-(2**31), 2**31)
BINARY = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
CANONICAL = JSONOptions(
    json_mode=JSONMode.CANONICAL, tz_aware=True, uuid_representation=LENIENT.uuid_representation,
    datetime_conversion=CODEC_OPTIONS.datetime_conversion,
)  # fmt: skip

Texts = dict[str, bytes | None]  # by name in the document, what the column holds; None: NULL


class _Column(NamedTuple):
    name: str  # in the document
    field: Any
    sql: str  # its text in hexadecimal digits


class Proof:
    """Checks documents of one model. unchecked: names of fields that the application maps itself."""

    def __init__(self, model: type[Any], using: str) -> None:
        self.model = model
        self.connection: Any = connections[using]
        self.pk: Any = model._meta.pk
        self.types = self._column_types()
        self.has_decimals = self.connection.vendor != "sqlite"  # which stores them as doubles
        own = has_own_mapping(model)
        self.extra = None if own else model.mirror.extra
        fields = mirrored_fields(model)
        self.own = own
        self.unchecked = [name for name, field in fields if own or hasattr(_target(field), "to_bson")]
        if self.extra:
            fields = [*fields, (self.extra, model._meta.get_field(self.extra))]
        self.columns = [
            _Column(name, _target(field), self._text_sql(str(field.column)))
            for name, field in fields
            if name not in self.unchecked
        ]

    def _column_types(self) -> dict[str, str]:
        if self.connection.vendor != "mysql":
            return {}
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = DATABASE() AND table_name = %s",
                [self.model._meta.db_table],
            )
            # Names of columns are the same in any case.
            return {str(column).lower(): str(kind) for column, kind in cursor.fetchall()}

    def _text_sql(self, column: str) -> str:
        name = self.connection.ops.quote_name(column)
        if self.connection.vendor != "mysql":
            # SQLite types values, not columns; its own text of a double has 15 digits.
            text = f"CASE typeof({name}) WHEN 'real' THEN printf('%%!.17g', {name}) ELSE {name} END"
            return f"CASE WHEN {name} IS NULL THEN NULL ELSE HEX({text}) END"
        kind = self.types[column.lower()]
        if kind in BINARY:
            return f"HEX({name})"
        if kind in ("bit", "year"):
            return f"HEX(CAST({name} + 0 AS CHAR))"
        if kind == "float":  # whose text is rounded
            return f"HEX(CAST(CAST({name} AS DOUBLE) AS CHAR))"
        return f"HEX(CAST({name} AS CHAR CHARACTER SET utf8mb4))"

    def texts(self, keys: Collection[str]) -> dict[str, Texts]:
        """By key, the columns' texts of the rows that exist. One query for 1,000 keys."""
        causal.wait(self.connection.alias)
        found: dict[str, Texts] = {}
        name = self.connection.ops.quote_name
        columns = ", ".join([self._text_sql(self.pk.column), *(column.sql for column in self.columns)])
        select = f"SELECT {columns} FROM {name(self.model._meta.db_table)} WHERE {name(self.pk.column)} IN "  # noqa: S608
        pk = _target(self.pk)
        for part in chunks([pk.get_db_prep_value(value, self.connection) for value in _values(pk, keys)]):
            with self.connection.cursor() as cursor:
                cursor.execute(f"{select} ({', '.join(['%s'] * len(part))})", list(part))
                for key, *values in cursor.fetchall():
                    texts = [None if value is None else bytes.fromhex(value) for value in values]
                    names = [column.name for column in self.columns]
                    found[str(pk.to_python(bytes.fromhex(key).decode()))] = dict(zip(names, texts, strict=True))
        return found

    def differences(self, texts: Texts | None, document: bytes) -> tuple[FieldDifference, ...]:
        """The fields of the stored document that differ from the columns."""
        if texts is None:  # the row was deleted after it was read
            return (FieldDifference("", "extra"),)
        if self.own:  # only the application knows which parts of the document are columns
            return ()
        left = bson.decode(document, codec_options=LENIENT)
        sync = left.pop("_sync", {})
        micros = sync.get("us", {}) if isinstance(sync, dict) else {}
        return tuple(FieldDifference(name, "value") for name in self._differing(texts, left, micros))

    def _differing(self, texts: Texts, left: dict[str, Any], micros: dict[str, int]) -> Iterator[str]:
        others = self._others(texts)
        if others is None:
            yield str(self.extra)
            return
        for name in self.unchecked:
            left.pop(name, None)
        for column in self.columns:
            text = texts[column.name]
            if column.name == self.extra or (text is None and column.name in others):
                continue
            if text is None or column.name not in left:
                if text is not None or column.name in left:
                    yield column.name
                left.pop(column.name, None)
            elif not is_same(column.field, text, left.pop(column.name), micros.get(column.name, 0), self.has_decimals):
                yield column.name
            others.pop(column.name, None)  # a column comes before the field of `extra` with its name
        for name, node in others.items():
            if name not in left or not _same_json(node, left.pop(name), extended=True):
                yield name
        yield from left

    def _others(self, texts: Texts) -> dict[str, Any] | None:
        """What the column of `extra` holds, by name; None: not an object."""
        text = texts.get(self.extra or "")
        node = _parse(text) if text is not None else _Pairs()
        if node is None:
            node = _Pairs()
        return dict(node) if isinstance(node, _Pairs) and len(dict(node)) == len(node) else None


def _target(field: Any) -> Any:
    while field.remote_field:
        field = field.target_field
    return field


def _values(pk: Any, keys: Collection[str]) -> Iterator[Any]:
    for key in keys:
        try:
            yield pk.to_python(key)
        except Exception:  # noqa: S112 (an invalid key is unmappable and already reported)
            continue


# --- one value --------------------------------------------------------------------------------------------------------


def is_same(field: Any, raw: bytes, value: Any, micros: int, has_decimals: bool = True) -> bool:
    """Whether a document's value is what the column's text says.

    micros: the microseconds below a date's milliseconds, which `_sync.us` holds.
    has_decimals: columns hold real decimals, not doubles.
    """
    if isinstance(field, models.JSONField):
        return _same_json(_parse(raw), value, extended=isinstance(field, DocumentField))
    if isinstance(value, (bytes, Binary)) and not isinstance(field, models.UUIDField):
        return raw == bytes(value)
    if isinstance(value, Binary):
        return value.subtype == UUID_SUBTYPE and raw.decode(errors="replace").replace("-", "").lower() == value.hex()
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return False
    if isinstance(value, datetime.datetime):
        compare = _same_day if not isinstance(field, models.DateTimeField) else _same_moment
        return compare(text, value, micros)
    if isinstance(field, models.TimeField):
        return isinstance(value, str) and _padded(text) == _padded(value)
    if isinstance(value, Decimal128):
        return Decimal(text) == value.to_decimal() if has_decimals else float(text) == float(value.to_decimal())
    check = _CHECKS.get(type(value))
    return check is not None and check(text, value)


def _double(text: str, value: float) -> bool:
    return float(text) == value and math.copysign(1, float(text)) == math.copysign(1, value)


_CHECKS: dict[type, Callable[[str, Any], bool]] = {
    bool: lambda text, value: text == ("1" if value else "0"),
    int: lambda text, value: text == str(value),
    Int64: lambda text, value: text == str(int(value)),
    float: _double,
    str: lambda text, value: text == value,
    ObjectId: lambda text, value: text.lower() == str(value),
}


def _same_day(text: str, value: datetime.datetime, micros: int) -> bool:
    return text == f"{value.year:04}-{value.month:02}-{value.day:02}" and value.time() == datetime.time()


def _same_moment(text: str, value: datetime.datetime, micros: int) -> bool:
    moment = value.astimezone(datetime.UTC)
    day = f"{moment.year:04}-{moment.month:02}-{moment.day:02}"
    time = f"{moment.hour:02}:{moment.minute:02}:{moment.second:02}.{moment.microsecond + micros:06}"
    return _padded(text.replace("T", " ").removesuffix("+00:00")) == f"{day} {time}"


def _padded(text: str) -> str:
    """A time's text with six digits after the point."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(6, '0')}"


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Pairs(list[Any]):
    """An object's names and values, in order."""


class _Number(str):
    """A number as it is written."""


_UNREADABLE = object()
_DECODER = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, parse_constant=lambda text: _UNREADABLE
)


def _parse(raw: bytes) -> Any:
    try:
        return _DECODER.decode(raw.decode())
    except (ValueError, RecursionError):
        return _UNREADABLE


def _same_json(node: Any, value: Any, extended: bool) -> bool:
    """Whether a parsed text has the document's value. extended: `$` keys stand for BSON's types."""
    if isinstance(node, _Pairs):
        names = [name for name, _ in node]
        if extended and names and names[0].startswith("$"):
            return _same_extended(node, value)
        return (
            isinstance(value, dict)
            and list(value) == names
            and all(_same_json(item, value[name], extended) for name, item in node)
        )
    if isinstance(node, _Number):
        return _same_number(node, value)
    if isinstance(node, list):
        return (
            isinstance(value, list)
            and len(value) == len(node)
            and all(_same_json(*both, extended) for both in zip(node, value, strict=True))
        )
    if isinstance(node, str):
        return type(value) is str and value == node
    return node is value  # true, false and null; an unreadable value matches no text


def _same_number(text: str, value: Any) -> bool:
    if type(value) is float:
        try:
            same = Decimal(repr(value)) == Decimal(text)
        except InvalidOperation:  # it is infinite
            return False
        return same and text.startswith("-") == (math.copysign(1, value) < 0) and not text.lstrip("-").isdigit()
    is_whole = type(value) in (int, Int64) and str(int(value)) == text
    return is_whole and (type(value) is Int64) == (int(value) not in INT32)


def _same_extended(node: _Pairs, value: Any) -> bool:
    try:
        meant = _meant(node)
        ours, theirs = (bson.encode({"": each}, codec_options=CODEC_OPTIONS) for each in (meant, value))
    except Exception:  # the library raises all kinds of errors for invalid values
        return False
    return ours == theirs and not isinstance(meant, dict)


def _meant(node: Any) -> Any:
    """The value of a parsed text, by BSON's library: from the inside out, as the library reads JSON."""
    if isinstance(node, _Pairs):
        return json_util.object_hook({name: _meant(item) for name, item in node}, CANONICAL)
    if isinstance(node, _Number):
        return int(node) if node.lstrip("-").isdigit() else float(node)
    return [_meant(item) for item in node] if isinstance(node, list) else node
