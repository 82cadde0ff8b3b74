"""Values compared as BSON has them."""

from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

# Reads also the dates that Python's datetime does not have.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)


def as_bson(value: Any) -> bytes:
    """Equal only for the same value of the same type, -0.0 and the order of keys included."""
    return bson.encode({"": value}, codec_options=CODEC)
