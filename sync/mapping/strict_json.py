"""Reads JSON strictly: a value is what the text says, or ValueError says what Python or BSON would have altered."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from bson import Regex

from sync.mapping.extended_json import from_extended_json
from sync.mapping.limits import depth

SHOWN = 100  # characters of a value in a reason
# Levels. MongoDB accepts 180; code that walks a value recursively (forms, logs, drivers) fails near 300.
DEEPEST = 250


def shown(value: Any) -> str:
    """A value for a reason: only the start of a long one."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _number(text: str) -> float:
    """A JSON number with a fraction or an exponent. Raises ValueError if a double would be another number."""
    value = float(text)
    # repr gives the shortest text of this double, so it is the same number, or the double is another one.
    if repr(value) != text and (not math.isfinite(value) or Decimal(repr(value)) != Decimal(text)):
        raise ValueError(f"the number {shown(text)} does not fit a double exactly")
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
        raise ValueError(f"an object has the name {shown(twice)} twice")
    return made


def _extended(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) != len(pairs):
        return _object(pairs)  # raises
    if not pairs or pairs[0][0][:1] != "$":
        return made
    value = from_extended_json(made)
    if value is made:
        raise ValueError(f"the key {shown(pairs[0][0])} starts with '$' but is not an Extended JSON value")
    if isinstance(value, float):
        if isinstance(text := made.get("$numberDouble"), str) and text not in ("Infinity", "-Infinity", "NaN"):
            _number(text)
    elif isinstance(value, datetime.datetime) and value.microsecond % 1000:
        raise ValueError(f"{value.isoformat()} has microseconds; BSON dates hold milliseconds")
    if pairs[0][0] in _ALTERED:
        _require_kept(pairs[0][0], made, value)
    return value


# What BSON's library reads but alters, or may alter.
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
        raise ValueError(f"{shown(made)} cannot be stored exactly")


_STRICT: dict[str, Any] = {"parse_float": _number, "parse_constant": _no_number}
_DOCUMENT = json.JSONDecoder(object_pairs_hook=_extended, **_STRICT)
_JSON = json.JSONDecoder(object_pairs_hook=_object, **_STRICT)
# The same; parsing integers in Python is slow, and Python alters only one of them.
_DOCUMENT_WITH_ZERO = json.JSONDecoder(object_pairs_hook=_extended, parse_int=_whole, **_STRICT)
_JSON_WITH_ZERO = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, **_STRICT)


def decode_document(text: str) -> Any:
    """The value of a text in Extended JSON. Raises json.JSONDecodeError for invalid JSON, and ValueError, TypeError or
    an error of BSON's library for what could not be stored exactly.
    """
    return (_DOCUMENT_WITH_ZERO if "-0" in text else _DOCUMENT).decode(text)


def read_document(text: Any) -> Any:
    """The value of a DocumentField's column. Raises like `decode_document`, and ValueError for invalid JSON."""
    return _read(text, decode_document)


def read_json(text: Any) -> Any:
    """The value of a JSONField's column. Raises ValueError for what Python would alter."""
    return _read(text, lambda text: (_JSON_WITH_ZERO if "-0" in text else _JSON).decode(text))


def _read(text: Any, decode: Callable[[str], Any]) -> Any:
    if text == "{}":  # most rows have an empty column for further fields, and some empty arrays
        return {}
    if text == "[]":
        return []
    try:
        value = decode(text)
        if "\\u" in text and ("\\ud" in text or "\\uD" in text):
            # Half of a surrogate pair is not valid text, though Python accepts it.
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        if len(text) > DEEPEST < text.count("[") + text.count("{") and (levels := depth(value)) > DEEPEST:
            raise ValueError(f"the JSON is nested too deeply: {levels} levels")
        return value
    except json.JSONDecodeError as error:
        raise ValueError(f"{shown(text)} is not JSON: {error}") from None
    except UnicodeEncodeError:
        raise ValueError(f"{shown(text)} has a lone surrogate, which is not valid text") from None
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except TypeError:
        if isinstance(text, str):
            raise
        raise ValueError(f"{shown(text)} is not text") from None
