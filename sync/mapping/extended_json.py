"""BSON values as Extended JSON and back, with exact types."""

from __future__ import annotations

import datetime
import functools
import json
import math
from typing import Any

from bson import Code, Int64, json_util
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion
from bson.json_util import JSONMode, JSONOptions
from bson.tz_util import utc

CANONICAL = JSONOptions(
    json_mode=JSONMode.CANONICAL, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
# For whole documents, as they are published and archived.
DOCUMENTS = JSONOptions(
    json_mode=JSONMode.CANONICAL,
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=utc)
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999  # the range of a datetime, in milliseconds from EPOCH


def to_extended_json(value: Any) -> Any:
    """Converts `value`, made of BSON's types, to data for json.dumps. `from_extended_json` restores it with exact
    types.

    Relaxed Extended JSON where that is exact (text, int32, finite double), canonical otherwise. Raises ValueError for
    what BSON or JSON would alter: `$` keys, lone surrogates, microseconds.
    """
    kind = type(value)  # nearly every value has exactly one of these types, and is checked more than once
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
        raise ValueError(f"{text!r} has a lone surrogate, which is not valid text") from None
    return text


def canonical_json(document: Any) -> str:
    """The text of json_util.dumps(document, json_options=DOCUMENTS), in two thirds of the time for text and numbers."""
    return json.dumps(_canonical(document))


def _canonical(value: Any) -> Any:
    kind = type(value)  # nearly every value has exactly one of these types
    if kind is str:
        return value
    if kind is dict:
        return {key: _canonical(item) for key, item in value.items()}
    if kind is list:
        return [_canonical(item) for item in value]
    if kind is int:
        return {"$numberInt" if -(2**31) <= value < 2**31 else "$numberLong": str(value)}
    try:
        return json_util.default(value, DOCUMENTS)
    except TypeError:  # another kind of mapping or sequence
        return json.loads(json_util.dumps(value, json_options=DOCUMENTS))


def readable_json(value: Any) -> Any:
    """Like `to_extended_json`, but dates are written as ISO 8601 in UTC. `from_extended_json` restores them, too."""
    if isinstance(value, dict):
        return {_key(key): readable_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [readable_json(item) for item in value]
    extended = to_extended_json(value)
    if isinstance(value, datetime.datetime):
        text = value.astimezone(utc).isoformat(timespec="milliseconds" if value.microsecond else "seconds")
        return {"$date": text.replace("+00:00", "Z")}
    return extended


@functools.lru_cache(1024)  # the documents of a collection have the same few keys
def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"the key {key!r} is not text")
    if key.startswith("$"):
        raise ValueError(f"the key {key!r} starts with '$', which Extended JSON and MongoDB reserve")
    if "\0" in key:
        raise ValueError(f"the key {key!r} has a NUL byte, which BSON keys cannot have")
    return _text(str(key))


def from_extended_json(data: dict[str, Any]) -> Any:
    """json.loads' object_hook: the BSON value for one decoded JSON object."""
    if not data or next(iter(data))[:1] != "$":
        return data  # an embedded document: Extended JSON's own objects start with `$`, and no key of ours does
    milliseconds = data.get("$date")
    if type(milliseconds) is Int64 and len(data) == 1 and FIRST <= milliseconds <= LAST:
        # The same result as the library's in a fifth of the time: large documents consist mostly of dates.
        return EPOCH + datetime.timedelta(milliseconds=milliseconds)
    return json_util.object_hook(data, CANONICAL)


def restore(value: Any) -> Any:
    """`value` with its Extended JSON converted to BSON's types; the inverse of `to_extended_json`."""
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
