"""Compares values as BSON."""

from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

# Also reads dates outside of the range of Python's datetime.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)


def as_bson(value: Any) -> bytes:
    """Return bytes that are equal only for the same value and type, including -0.0 and the order of keys."""
    return bson.encode({"": value}, codec_options=CODEC)
