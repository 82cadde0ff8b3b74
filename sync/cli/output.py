"""Formats the JSON that commands print. docs/schemas/ describes it, and other programs rely on it.

Times are UTC with six digits and the zone, such as 2026-01-31T23:59:59.000000+00:00. A number is either always an
integer or always has a decimal point. null means unknown. No number is NaN or infinite.
"""

from __future__ import annotations

import datetime
import json
from typing import Any


def dumps(data: Any) -> str:
    """Return JSON for dicts, lists, strings, numbers, booleans, None and aware datetimes.

    Raises TypeError for other types, and ValueError for NaN, infinity and naive datetimes.
    """
    return json.dumps(data, default=_as_text, indent=2, allow_nan=False)


def _as_text(value: Any) -> str:
    if not isinstance(value, datetime.datetime):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")
