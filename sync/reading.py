"""Reading rows exactly: a row has what its columns hold, or says which of them Python cannot hold.

Drivers and Django's converters alter some values in silence: a date that is none becomes None, a TIME loses its sign,
a BooleanField takes 2 for true, `1e400` in JSON becomes infinity. Whoever compares through the same converters sees no
difference. So the mirror reads rows with `exact` querysets:

1. The driver hands over temporal values by strict readers, which take only what their Python type holds exactly.
2. Django's and the field's own converters follow; for JSON, a strict decoder takes their place.
3. The result must be of the Python type that the field stands for.

What fails on the way becomes an `Unreadable`: the column's text, with the reason. No value of one row stops another.
`sync verify --strict` proves all this without driver and converters; see sync/strict.py.
"""

from __future__ import annotations

import base64
import datetime
import functools
import json
import math
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeVar

from bson import Regex
from django.db import InterfaceError, connections, models
from django.db.models.expressions import Col, RawSQL
from django.db.models.query import ModelIterable
from django.db.models.sql import Query
from django.db.models.sql.constants import CURSOR, MULTI

from sync import causal
from sync.fields import DocumentField, ObjectIdField, from_extended_json
from sync.limits import depth

Converter = Callable[[Any, Any, Any], Any]  # (value, expression, connection), as Django's
Rows = TypeVar("Rows", bound="models.QuerySet[Any]")

SHOWN = 100  # characters of a value in a reason
# Levels of JSON. MongoDB takes 180; what walks through a value by recursion (forms, logs, drivers) fails near 300.
DEEPEST = 250
FLOAT = 4  # MySQL's number of the column type FLOAT in a result's description
MOMENTS = {7, 12}  # TIMESTAMP, DATETIME
TIME, DATE = 11, 10


class Unreadable(str):
    """A column's text that Python cannot hold as the field's value; `why` says so."""

    why: str

    def __new__(cls, value: Any, why: str) -> Unreadable:
        text = (
            value if isinstance(value, str) else value.decode(errors="replace") if isinstance(value, bytes) else value
        )
        made = super().__new__(cls, text)
        made.why = why
        return made

    def __reduce__(self) -> Any:
        return Unreadable, (str(self), self.why)


class _JSONNull:
    """What a JSON column holds that is `null` itself, and not SQL's NULL. In a row both are None; see `json_nulls`."""


JSON_NULL = _JSONNull()
NOTHING: Mapping[str, str] = MappingProxyType({})


def exact(queryset: Rows) -> Rows:
    """The same rows, read exactly.

    Each row has `unreadable`, which says by field name why a column cannot be read (empty: all can), and those
    attributes hold the column's text. In `json_nulls` are the names of fields whose column holds JSON's `null`.
    Lists of values have an `Unreadable` in place of what cannot be read.
    """
    rows = queryset.all()
    rows.query = rows.query.chain(_Query)
    if rows._iterable_class is ModelIterable:  # type: ignore[attr-defined]
        rows._iterable_class = _Instances  # type: ignore[attr-defined]
    return rows


def by_key(model: type[models.Model], keys: Collection[str], using: str) -> dict[str, Any]:
    """The rows with these keys, read exactly, by key as it was given. One query, phrased by the ORM once a process."""
    pk: Any = model._meta.pk
    connection: Any = connections[using]
    meant = {key: pk.to_python(key) for key in keys}
    values = [pk.get_db_prep_value(value, connection) for value in meant.values()]
    for _ in range(2):
        plan = _plan(model, using)
        with exact_values(connection), connection.cursor() as cursor:
            cursor.execute(f"{plan.select} IN ({', '.join(['%s'] * len(values))})", values)
            if plan.compiler.meets_floats(cursor):
                _plan.cache_clear()
                continue
            found = cursor.fetchall()
        rows = (
            _with_notes(model.from_db(using, plan.names, values))
            for values in plan.compiler.apply_converters(found, plan.converters)
        )
        by_pk = {str(row.pk): row for row in rows}
        return {key: by_pk[text] for key, value in meant.items() if (text := str(value)) in by_pk}
    raise AssertionError("a column is FLOAT in one statement only")


def literal(field: Any, key: Any) -> Any:
    """A key to look up rows by: the field's value; for a text that is none, the text as the database has it."""
    while field.remote_field:
        field = field.target_field
    if type(key) is not Unreadable:
        try:
            return field.to_python(key)
        except Exception:  # noqa: S110 (a field's to_python may raise anything)
            pass
    return RawSQL("%s", (str(key),))


def unreadable(row: models.Model) -> dict[str, str]:
    """By field name why a column of this row cannot be read; for rows that `exact` or `by_key` has read."""
    held = row.__dict__
    found = {}
    for name, attname in _names(type(row)):
        value = held.get(attname)
        if type(value) is Unreadable:
            found[name] = value.why
    return found


@functools.cache
def _names(model: type[models.Model]) -> list[tuple[str, str]]:
    return [(field.name, field.attname) for field in model._meta.concrete_fields]


def _with_notes(row: Any) -> Any:
    """Notes on the row what of it cannot be read, and where it has JSON's null. (MirroredModel says: nothing.)"""
    kinds = set(map(type, row.__dict__.values()))
    if Unreadable in kinds or not hasattr(row, "unreadable"):
        row.unreadable = unreadable(row)
    if _JSONNull in kinds:
        held = row.__dict__
        row.json_nulls = [field.name for field in row._meta.concrete_fields if held.get(field.attname) is JSON_NULL]
        for name in row.json_nulls:
            setattr(row, name, None)
    return row


class _Instances(ModelIterable):
    def __iter__(self) -> Iterator[Any]:
        return map(_with_notes, super().__iter__())


class _Query(Query):
    def get_compiler(self, using: Any = None, connection: Any = None, elide_empty: bool = True) -> Any:
        connection = connection or connections[using]
        return _compiler(connection.ops.compiler(self.compiler))(self, connection, using, elide_empty)


@functools.cache
def _compiler(base: type) -> Any:
    return type("ExactCompiler", (_Exactly, base), {})


# Columns of MySQL's type FLOAT that were met, as (alias, table, column): their text is rounded, so they are cast.
_FLOATS: set[tuple[Any, ...]] = set()


class _Exactly:
    """A mixin for an SQL compiler: selects columns unaltered, and guards their conversion."""

    connection: Any
    query: Any
    select: Any
    col_count: Any
    has_extra_select: Any

    def get_select(self, *args: Any, **kwargs: Any) -> Any:
        select, klass_info, annotations = super().get_select(*args, **kwargs)  # type: ignore[misc]
        return [(col, self._phrase(col, *sql), alias) for col, sql, alias in select], klass_info, annotations

    def _phrase(self, column: Any, sql: str, params: Any) -> tuple[str, Any]:
        if isinstance(column, Col):
            if self.connection.vendor == "sqlite":
                return f"+{sql}", params  # an expression has no declared type, by which the driver would convert it
            if (self.connection.alias, column.target.model._meta.db_table, column.target.column) in _FLOATS:
                return f"CAST({sql} AS DOUBLE)", params
        return sql, params

    def execute_sql(self, result_type: Any = MULTI, chunked_fetch: bool = False, chunk_size: int = 100) -> Any:
        with exact_values(self.connection):
            if result_type != MULTI:
                return super().execute_sql(result_type, chunked_fetch, chunk_size)  # type: ignore[misc]
            cursor = super().execute_sql(CURSOR)  # type: ignore[misc]
            if cursor is not None and self.meets_floats(cursor):
                cursor = super().execute_sql(CURSOR)  # type: ignore[misc]
            if cursor is None:  # the query cannot have a result
                return []
            with cursor:
                rows = cursor.fetchall()
        return [[row[: self.col_count] for row in rows] if self.has_extra_select else rows]

    def meets_floats(self, cursor: Any) -> bool:
        """Whether the result has columns of type FLOAT that were not cast; they will be in the next statement."""
        if self.connection.vendor != "mysql":
            return False
        met = {
            (self.connection.alias, column.target.model._meta.db_table, column.target.column)
            for (column, _, _), described in zip(self.select, cursor.description, strict=False)
            if described[1] == FLOAT and isinstance(column, Col)
        }
        _FLOATS.update(met)
        return bool(met)

    def get_converters(self, expressions: Any) -> Any:
        converters = super().get_converters(expressions)  # type: ignore[misc]
        return {
            place: ([_reader(expression, converters.get(place, ([], None))[0], self)], expression)
            for place, expression in enumerate(expressions)
            if place in converters or isinstance(expression, Col)
        }


class _Plan:
    """The SELECT of a model's rows by key, ready but for the number of keys."""

    def __init__(self, model: type[models.Model], using: str) -> None:
        connection = connections[using]
        name = connection.ops.quote_name
        self.compiler = exact(models.QuerySet(model, using=using)).query.get_compiler(using)
        sql, _ = self.compiler.as_sql()
        pk: Any = model._meta.pk
        self.select = f"{sql} WHERE {name(model._meta.db_table)}.{name(pk.column)}"
        columns = [column for column, _, _ in self.compiler.select]
        self.converters = self.compiler.get_converters(columns)
        self.names = [column.target.attname for column in columns]


_plan: Any = functools.lru_cache(_Plan)


# --- 1. the driver ----------------------------------------------------------------------------------------------------


@contextmanager
def exact_values(connection: Any) -> Iterator[None]:
    """Lets the driver hand over values unaltered, for statements that are executed and fetched in this block.

    All rows of the mirror are read in such a block; so here a cluster's node is made to catch up first.
    """
    # A connection that is tested and replaced inside of the block would convert as it always does.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    causal.wait(connection.alias)
    driver = connection.connection
    if connection.vendor == "mysql":
        usual, driver.converter = driver.converter, {**driver.converter, **_DRIVER}
    elif connection.vendor == "sqlite":
        usual, driver.text_factory = driver.text_factory, _sqlite_text
    try:
        yield
        if connection.connection is not driver:
            raise InterfaceError("The connection was replaced while rows were read.")
    finally:
        if connection.vendor == "mysql":
            driver.converter = usual
        elif connection.vendor == "sqlite":
            driver.text_factory = usual


def _strictly(parse: Callable[[str], Any], what: str) -> Callable[[Any], Any]:
    """`parse`, or an Unreadable where that raises ValueError."""

    def read(text: Any) -> Any:
        try:
            return parse(text)
        except (ValueError, TypeError):
            return Unreadable(text, f"{_shown(text)} is no {what}")

    return read


def _time(text: str) -> datetime.time:
    if text[2:3] != ":" or not "0" <= text < "24":  # a TIME may be a negative or a long duration
        raise ValueError
    return datetime.time.fromisoformat(text)


def _sqlite_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Unreadable(data, f"{_shown(data)} is not UTF-8")


_DRIVER = {
    DATE: _strictly(datetime.date.fromisoformat, "valid date"),
    TIME: _strictly(_time, "time of day, which is from 00:00:00 to 23:59:59.999999"),
    **dict.fromkeys(MOMENTS, _strictly(datetime.datetime.fromisoformat, "valid date and time")),
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


# --- 2. the converters ------------------------------------------------------------------------------------------------


def _reader(expression: Any, converters: list[Converter], compiler: Any) -> Converter:
    """One guarded converter in place of `converters`."""
    types: Collection[type] = ()
    name = ""
    if isinstance(expression, Col):
        field = expression.output_field
        if json_reader := _json_reader(field):
            keep = compiler.query.default_cols  # in lists of values, null is None

            def decode(value: Any, _expression: Any, _connection: Any) -> Any:
                found = json_reader(value)
                return JSON_NULL if found is None and keep else found

            converters = [decode]
        else:
            types, name = _types_of(field)
            if compiler.connection.vendor == "sqlite":
                converters = [*_sqlite_readers(field), *converters]
            if isinstance(field, ObjectIdField):
                converters = [*converters, _lower]
    return _converted(converters, types, name) if converters else _checked(types, name)


def _lower(value: Any, _expression: Any, _connection: Any) -> Any:
    """An ObjectId's digits as the field writes them: to the database, and as an ObjectId, any case is the same key."""
    return value.lower() if isinstance(value, str) else value


def _converted(converters: list[Converter], types: Collection[type], name: str) -> Converter:
    def read(value: Any, expression: Any, connection: Any) -> Any:
        if value is None or type(value) is Unreadable:
            return value
        read = value
        try:
            for convert in converters:
                read = convert(read, expression, connection)
        except Exception as error:  # an application's own field may raise anything; the other values go on
            return Unreadable(value, str(error) or repr(error))
        return read if not types or type(read) in types else Unreadable(value, f"{_shown(read)} is not {name}")

    return read


def _checked(types: Collection[type], name: str) -> Converter:
    def read(value: Any, expression: Any, connection: Any) -> Any:
        if type(value) in types or value is None or not types or type(value) is Unreadable:
            return value
        return Unreadable(value, f"{_shown(value)} is not {name}")

    return read


def _sqlite_readers(field: Any) -> list[Converter]:
    """What reads a value that SQLite has stored in whatever type somebody gave it."""
    kind = field.get_internal_type()
    if kind in ("DateField", "DateTimeField", "TimeField"):
        parse: Any = {
            "DateField": datetime.date.fromisoformat, "TimeField": datetime.time.fromisoformat,
            "DateTimeField": datetime.datetime.fromisoformat,
        }[kind]  # fmt: skip

        def moment(value: Any, _expression: Any, _connection: Any) -> Any:
            try:
                if re.search(r"\.\d{6}0*[1-9]", value):
                    raise ValueError
                return parse(value)
            except (ValueError, TypeError):
                raise ValueError(f"{_shown(value)} is no valid {field.description.lower()}") from None

        return [moment]
    if kind == "BooleanField":
        return [lambda value, _expression, _connection: {0: False, 1: True}.get(value, value)]
    if kind == "DecimalField":
        return [_sqlite_decimal(field)]
    return []


def _sqlite_decimal(field: Any) -> Converter:
    """SQLite keeps decimals as doubles. One that has more digits than the field is not what the field says."""

    def decimal(value: Any, expression: Any, connection: Any) -> Any:
        if not isinstance(value, (int, float)):
            raise ValueError(f"{_shown(value)} is not a number")
        for convert in connection.ops.get_db_converters(expression):
            if (type(value)(convert(value, expression, connection))) != value:
                raise ValueError(f"{value!r} has more than {field.decimal_places} decimal places, or than 15 digits")
        return value

    return decimal


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json_reader(field: Any) -> Callable[[str], Any] | None:
    """What decodes the column of a JSON field strictly; None for one with a decoder of its own."""
    if isinstance(field, DocumentField):
        return read_document
    if isinstance(field, models.JSONField) and field.decoder is None:
        return read_json
    return None


def _number(text: str) -> float:
    """A JSON number with a fraction or an exponent; raises ValueError when a double would be another number."""
    value = float(text)
    # repr gives the shortest text that is this double, so it is the same number, or the double is another one.
    if repr(value) != text and (not math.isfinite(value) or Decimal(repr(value)) != Decimal(text)):
        raise ValueError(f"the number {_shown(text)} does not fit a double exactly")
    return value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _whole(text: str) -> int:
    if text == "-0":
        raise ValueError("-0 is not a whole number")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the name {_shown(twice)} twice")
    return made


def _extended(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) != len(pairs):
        return _object(pairs)  # raises
    if not pairs or pairs[0][0][:1] != "$":
        return made
    value = from_extended_json(made)
    if value is made:
        raise ValueError(f"the key {_shown(pairs[0][0])} begins with '$', which stands for no value here")
    if isinstance(value, float):
        if isinstance(text := made.get("$numberDouble"), str) and text not in ("Infinity", "-Infinity", "NaN"):
            _number(text)
    elif isinstance(value, datetime.datetime) and value.microsecond % 1000:
        raise ValueError(f"{value.isoformat()} has microseconds; BSON dates hold milliseconds")
    if pairs[0][0] in _ALTERED:
        _require_kept(pairs[0][0], made, value)
    return value


# What BSON's library reads, and makes something else of, or may.
_ALTERED = {
    "$undefined", "$symbol", "$dbPointer", "$numberInt", "$binary", "$type", "$regularExpression", "$regex", "$options",
}  # fmt: skip


def _require_kept(name: str, made: dict[str, Any], value: Any) -> None:
    if "$binary" in made:
        inner = made["$binary"]
        text = inner.get("base64") if isinstance(inner, dict) else inner
        is_kept = base64.b64encode(bytes(value)).decode() == text
    elif isinstance(value, Regex):
        options = (made.get("$regularExpression") or {"options": made.get("$options", "")})["options"]
        is_kept = set(options) <= set("ilmsux")
    else:
        is_kept = name == "$numberInt" and -(2**31) <= value < 2**31
    if not is_kept:
        raise ValueError(f"{_shown(made)} is not kept exactly")


_STRICT: dict[str, Any] = {"parse_float": _number, "parse_constant": _no_number}
_DOCUMENT = json.JSONDecoder(object_pairs_hook=_extended, **_STRICT)
_JSON = json.JSONDecoder(object_pairs_hook=_object, **_STRICT)
# The same; parsing whole numbers in Python is slow, and only one of them is lost by Python.
_DOCUMENT_WITH_ZERO = json.JSONDecoder(object_pairs_hook=_extended, parse_int=_whole, **_STRICT)
_JSON_WITH_ZERO = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, **_STRICT)


def read_document(text: Any) -> Any:
    """What a DocumentField's column holds. Raises ValueError and the like for what is not kept exactly."""
    return _decode(text, _DOCUMENT, _DOCUMENT_WITH_ZERO)


def read_json(text: Any) -> Any:
    """What a JSONField's column holds. Raises ValueError for what Python would alter."""
    return _decode(text, _JSON, _JSON_WITH_ZERO)


def _decode(text: Any, decoder: json.JSONDecoder, slow: json.JSONDecoder) -> Any:
    try:
        value = (slow if "-0" in text else decoder).decode(text)
        if "\\ud" in text or "\\uD" in text:  # one half of a pair is no text, though Python takes it for one
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        if text.count("[") + text.count("{") > DEEPEST and (levels := depth(value)) > DEEPEST:
            raise ValueError(f"the JSON is nested too deeply: {levels} levels")
        return value
    except json.JSONDecodeError as error:
        raise ValueError(f"{_shown(text)} is not JSON: {error}") from None
    except UnicodeEncodeError:
        raise ValueError(f"{_shown(text)} has a lone surrogate, which is not text") from None
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except TypeError:
        if isinstance(text, str):
            raise
        raise ValueError(f"{_shown(text)} is not text") from None


# --- 3. the type ------------------------------------------------------------------------------------------------------

# By class of field the Python types of its values, and what to call them.
_TYPES: dict[type[models.Field], tuple[tuple[type, ...], str]] = {
    models.BooleanField: ((bool,), "true or false"),
    models.CharField: ((str,), "text"),
    models.TextField: ((str,), "text"),
    models.FileField: ((str,), "text"),
    models.FilePathField: ((str,), "text"),
    models.GenericIPAddressField: ((str,), "text"),
    models.AutoField: ((int,), "a whole number"),
    models.IntegerField: ((int,), "a whole number"),
    models.FloatField: ((float,), "a double"),
    models.DecimalField: ((Decimal,), "a decimal"),
    models.DateTimeField: ((datetime.datetime,), "a date and time"),
    models.DateField: ((datetime.date,), "a date"),
    models.TimeField: ((datetime.time,), "a time"),
    models.DurationField: ((datetime.timedelta,), "a duration"),
    models.UUIDField: ((uuid.UUID,), "a UUID"),
    models.BinaryField: ((bytes, memoryview), "binary"),
}


def _types_of(field: Any) -> tuple[Collection[type], str]:
    """The Python types of a field's values; none for one that converts by itself, and so knows best."""
    if hasattr(field, "from_db_value"):
        return (), ""
    return next((_TYPES[kind] for kind in type(field).__mro__ if kind in _TYPES), ((), ""))
