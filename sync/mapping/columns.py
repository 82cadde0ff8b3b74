"""The value of one column: exactly what it holds, or an `Unreadable` with its text and the reason.

1. The driver reads temporal values with strict readers, which accept only what their Python type holds exactly.
2. Django's and the field's own converters follow; for JSON, a strict decoder replaces them (strict_json.py).
3. The result must have the Python type of the field.

An unreadable value affects no other.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from django.db import InterfaceError, OperationalError, models
from django.db.models.expressions import Col

from sync.core import causal
from sync.mapping.fields import DocumentField, ObjectIdField
from sync.mapping.strict_json import read_document, read_json, shown
from sync.mapping.unreadable import Unreadable

Converter = Callable[[Any, Any, Any], Any]  # (value, expression, connection), like Django's

MOMENTS = {7, 12}  # MySQL's numbers of the column types TIMESTAMP and DATETIME
TIME, DATE = 11, 10


class _JSONNull:
    """The value of a JSON column that is `null` itself and not SQL's NULL. In a row both are None; see `json_nulls`."""


JSON_NULL = _JSONNull()


# --- 1. the driver ----------------------------------------------------------------------------------------------------


@contextmanager
def exact_values(connection: Any) -> Iterator[None]:
    """Makes the driver return values unaltered, for statements executed and fetched in this block.

    All rows of the mirror are read in such a block, so it also makes a cluster's node catch up first.
    """
    # A connection that is replaced inside the block would convert values as usual.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    causal.wait(connection.alias)
    driver = connection.connection
    if connection.vendor == "mysql":
        if driver.converter is None:  # it was closed within a transaction, where Django opens no other
            raise OperationalError(2006, "The connection to the server was closed.")
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
    """`parse`, or an Unreadable if it raises ValueError."""

    def read(text: Any) -> Any:
        try:
            return parse(text)
        except (ValueError, TypeError):
            return Unreadable(text, f"{shown(text)} is not a {what}")

    return read


def _time(text: str) -> datetime.time:
    if text[2:3] != ":" or not "0" <= text < "24":  # a TIME can be negative or a long duration
        raise ValueError
    return datetime.time.fromisoformat(text)


def _sqlite_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Unreadable(data, f"{shown(data)} is not UTF-8")


_DRIVER = {
    DATE: _strictly(datetime.date.fromisoformat, "valid date"),
    TIME: _strictly(_time, "time of day (00:00:00 to 23:59:59.999999)"),
    **dict.fromkeys(MOMENTS, _strictly(datetime.datetime.fromisoformat, "valid date and time")),
}


# --- 2. the converters ------------------------------------------------------------------------------------------------


def reader(expression: Any, converters: list[Converter], compiler: Any) -> Converter:
    """One guarded converter in place of `converters`."""
    types: Collection[type] = ()
    name = ""
    if isinstance(expression, Col):
        field = expression.output_field
        if json_reader := _json_reader(field):
            return _json(json_reader, JSON_NULL if compiler.query.default_cols else None)
        types, name = _types_of(field)
        if compiler.connection.vendor == "sqlite":
            converters = [*_sqlite_readers(field), *converters]
        if isinstance(field, ObjectIdField):
            converters = [*converters, _lower]
    return _converted(converters, types, name) if converters else _checked(types, name)


def _lower(value: Any, _expression: Any, _connection: Any) -> Any:
    """An ObjectId's digits in lower case, as the field writes them: the same key in any case, in SQL and as an
    ObjectId.
    """
    return value.lower() if isinstance(value, str) else value


def _json(decode: Callable[[Any], Any], null: Any) -> Converter:
    """`null`: the value for JSON's null; in lists of values it is None."""

    def read(value: Any, _expression: Any, _connection: Any) -> Any:
        if value is None or type(value) is Unreadable:
            return value
        try:
            found = decode(value)
        except Exception as error:  # also of BSON's library
            return Unreadable(value, str(error) or repr(error))
        return null if found is None else found

    return read


def _converted(converters: list[Converter], types: Collection[type], name: str) -> Converter:
    def read(value: Any, expression: Any, connection: Any) -> Any:
        if value is None or type(value) is Unreadable:
            return value
        read = value
        try:
            for convert in converters:
                read = convert(read, expression, connection)
        except Exception as error:  # an application's own field may raise anything; the other values continue
            return Unreadable(value, str(error) or repr(error))
        return read if not types or type(read) in types else Unreadable(value, f"{shown(read)} is not {name}")

    return read


def _checked(types: Collection[type], name: str) -> Converter:
    def read(value: Any, expression: Any, connection: Any) -> Any:
        if type(value) in types or value is None or not types or type(value) is Unreadable:
            return value
        return Unreadable(value, f"{shown(value)} is not {name}")

    return read


def _sqlite_readers(field: Any) -> list[Converter]:
    """The functions that read a value that SQLite has stored with an arbitrary type."""
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
                raise ValueError(f"{shown(value)} is not a valid {field.description.lower()}") from None

        return [moment]
    if kind == "BooleanField":
        return [lambda value, _expression, _connection: {0: False, 1: True}.get(value, value)]
    if kind == "DecimalField":
        return [_sqlite_decimal(field)]
    return []


def _sqlite_decimal(field: Any) -> Converter:
    """SQLite stores decimals as doubles. One with more digits than the field is not a value of the field."""

    def decimal(value: Any, expression: Any, connection: Any) -> Any:
        if not isinstance(value, (int, float)):
            raise ValueError(f"{shown(value)} is not a number")
        for convert in connection.ops.get_db_converters(expression):
            if (type(value)(convert(value, expression, connection))) != value:
                raise ValueError(f"{value!r} has more than {field.decimal_places} decimal places, or than 15 digits")
        return value

    return decimal


def _json_reader(field: Any) -> Callable[[str], Any] | None:
    """The strict decoder for the column of a JSON field; None for a field with a decoder of its own."""
    if isinstance(field, DocumentField):
        return read_document
    if isinstance(field, models.JSONField) and field.decoder is None:
        return read_json
    return None


# --- 3. the type ------------------------------------------------------------------------------------------------------

# By class of field, the Python types of its values and their name.
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
    """The Python types of a field's values; none for a field with its own conversion."""
    if hasattr(field, "from_db_value"):
        return (), ""
    return next((_TYPES[kind] for kind in type(field).__mro__ if kind in _TYPES), ((), ""))
