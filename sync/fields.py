"""Model fields for data that also lives in MongoDB."""

import datetime
import functools
import json
import math
from typing import Any

from bson import Code, Int64, ObjectId, json_util
from bson.codec_options import DatetimeConversion
from bson.json_util import JSONMode, JSONOptions
from bson.tz_util import utc
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.expressions import Col, Func

CANONICAL = JSONOptions(
    json_mode=JSONMode.CANONICAL, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=utc)
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999  # what a datetime holds, in milliseconds from EPOCH


def new_object_id() -> str:
    """A fresh ObjectId as 24 hex digits."""
    return str(ObjectId())


class NewObjectId(Func):
    """A fresh ObjectId that the database makes, for `db_default`: seconds since 1970, then 64 bits of a UUID's digest.

    RANDOM_BYTES would say it more simply, but MariaDB has it only since 10.10. On SQLite all 96 bits are random.
    """

    template = "LOWER(CONCAT(LPAD(HEX(UNIX_TIMESTAMP()), 8, '0'), LEFT(SHA2(UUID(), 256), 16)))"
    arity = 0
    output_field = models.CharField(max_length=24)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="LOWER(HEX(RANDOMBLOB(12)))", **context)


class TextDefault(Func):
    """A constant text as the `db_default` of a text or document column: TextDefault("[]").

    As a call: MySQL's ALTER TABLE refuses a plain constant for such columns (error 1101), in parentheses, too.
    """

    function = "TRIM"
    output_field = models.TextField()

    def __init__(self, text: str) -> None:
        super().__init__(models.Value(text))


class ObjectIdField(models.CharField):
    """An ObjectId in MongoDB, its 24 lower-case hex digits in SQL. Made in Python, so it is known before the INSERT.

    With `db_default=NewObjectId()` a program that knows nothing of it can leave it out of its INSERT.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", new_object_id)
        kwargs["max_length"] = 24
        super().__init__(*args, **kwargs)
        self.validators = [*self.validators, RegexValidator(r"\A[0-9a-f]{24}\Z", "Enter 24 hexadecimal digits.")]

    def to_python(self, value: Any) -> Any:
        return None if value is None else str(value).lower()

    def get_prep_value(self, value: Any) -> Any:
        return self.to_python(super().get_prep_value(value))


def to_extended_json(value: Any) -> Any:
    """`value`, made of BSON's types, as data for json.dumps that `from_extended_json` gives back type for type.

    Relaxed Extended JSON where that is exact (text, int32, finite double), canonical where it is not.
    Raises ValueError for what BSON or JSON would alter: `$` keys, lone surrogates, microseconds.
    """
    kind = type(value)  # nearly every value is of one of these types itself, and looked at more than once
    if kind is str:
        return value if value.isascii() else _text(value)
    if kind is dict:
        return {_key(key): to_extended_json(item) for key, item in value.items()}
    if kind is list:
        return [to_extended_json(item) for item in value]
    if kind is bool or value is None:
        return value
    if kind is int:
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{value} does not fit BSON's 64-bit integer")
        return value
    if kind is float and math.isfinite(value):
        return value
    return _rarely(value)


def _rarely(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Code):
        return _text(str(value))
    if isinstance(value, dict):
        return to_extended_json(dict(value))
    if isinstance(value, (list, tuple)):
        return to_extended_json(list(value))
    if isinstance(value, datetime.datetime) and value.microsecond % 1000:
        raise ValueError(f"{value.isoformat()} has microseconds; BSON dates hold milliseconds")
    if isinstance(value, int) and not isinstance(value, Int64):
        return to_extended_json(int(value))
    return json_util.default(value, CANONICAL)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} has a lone surrogate, which is not text") from None
    return text


@functools.lru_cache(1024)  # the documents of a collection have the same few keys
def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"the key {key!r} is not text")
    if key.startswith("$"):
        raise ValueError(f"the key {key!r} begins with '$', which Extended JSON and MongoDB reserve")
    if "\0" in key:
        raise ValueError(f"the key {key!r} has a NUL byte, which BSON keys cannot have")
    return _text(str(key))


def from_extended_json(data: dict[str, Any]) -> Any:
    """json.loads' object_hook: the BSON value for one decoded JSON object."""
    if not data or next(iter(data))[:1] != "$":
        return data  # an embedded document: all that stands for something else begins so, and none of our keys does
    milliseconds = data.get("$date")
    if type(milliseconds) is Int64 and len(data) == 1 and FIRST <= milliseconds <= LAST:
        # The same as the library makes of it, in a fifth of the time: large documents are dates for the most part.
        return EPOCH + datetime.timedelta(milliseconds=milliseconds)
    return json_util.object_hook(data, CANONICAL)


def restore(value: Any) -> Any:
    """`value` with whatever Extended JSON is in it turned into BSON's types; the inverse of `to_extended_json`."""
    if isinstance(value, dict):
        return from_extended_json({key: restore(item) for key, item in value.items()})
    if isinstance(value, list):
        return [restore(item) for item in value]
    return value


class ExtendedJSONEncoder(json.JSONEncoder):
    def encode(self, o: Any) -> str:
        return super().encode(to_extended_json(o))


class ExtendedJSONDecoder(json.JSONDecoder):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(object_hook=from_extended_json, **kwargs)


_ENCODER, _DECODER = ExtendedJSONEncoder(), ExtendedJSONDecoder()  # Django makes one for every value


class DocumentField(models.JSONField):
    """A BSON value (array, embedded document, ...) in one column, as Extended JSON.

    The column is text on every database: MySQL's own JSON type sorts keys, and would lose the document's order.
    Django's JSON lookups work on it all the same.

    Give it `db_default=TextDefault("{}")` beside its `default` where other programs insert rows that do not name it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["encoder"] = ExtendedJSONEncoder
        kwargs["decoder"] = ExtendedJSONDecoder
        super().__init__(*args, **kwargs)

    @property
    def db_returning(self) -> bool:
        # Django reads each column that has a `db_default` back after an INSERT. This one may be megabytes long, and a
        # Python default has always sent it.
        return super().db_returning and not self.has_default()

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["encoder"], kwargs["decoder"]
        return name, path, args, kwargs

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is None or hasattr(value, "as_sql"):
            return super().get_db_prep_value(value, connection, prepared)
        return _ENCODER.encode(value)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if isinstance(value, str) and isinstance(expression, Col):
            return _DECODER.decode(value)
        return super().from_db_value(value, expression, connection)

    def formfield(self, **kwargs: Any) -> Any:
        from sync.forms import DocumentFormField

        field = super().formfield(**({"form_class": DocumentFormField} | kwargs))
        if isinstance(field, DocumentFormField):
            field.empty_value = self.get_default()
        return field

    def value_to_string(self, obj: models.Model) -> Any:
        # Serializers put this into fixtures, as data: dates and int64 are to come back as what they were.
        return to_extended_json(self.value_from_object(obj))

    def to_python(self, value: Any) -> Any:
        return restore(value)

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        """Refuses what cannot be kept, with the reason."""
        from sync.limits import REFUSALS, check

        models.Field.validate(self, value, model_instance)
        try:
            check(value, type(model_instance) if model_instance else None)
        except REFUSALS as error:
            raise ValidationError(str(error) or type(error).__name__) from error

    def db_type(self, connection: Any) -> str:
        return "longtext" if connection.vendor == "mysql" else "text"
