"""The one form of all JSON that commands print: docs/schemas/ describes it, and other programs rely on it.

Times are UTC with six digits and the zone, such as 2026-01-31T23:59:59.000000+00:00. A number is either always
whole or always has a decimal point. null means unknown, and no number is NaN or infinite.
"""

from __future__ import annotations

import datetime
import json
from typing import Any


def dumps(data: Any) -> str:
    """`data`, made of dicts, lists, text, numbers, booleans, None and aware times. Raises TypeError, ValueError."""
    return json.dumps(data, default=_as_text, indent=2, allow_nan=False)


def _as_text(value: Any) -> str:
    if not isinstance(value, datetime.datetime):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    if value.tzinfo is None:
        raise ValueError(f"{value} has no zone")
    return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")
