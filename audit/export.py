"""Entries as CSV, row by row: whatever their number, a page of them is in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet

from audit.models import Entry

COLUMNS = ("at", "who", "who_id", "act", "model", "key", "text", "before", "after", "address")
CHUNK = 1000
FORMULA = tuple("=+-@\t\r\n")  # what a spreadsheet computes, or takes for the end of a cell


class _Echo:
    """A file whose `write` returns the line."""

    def write(self, line: str) -> str:
        return line


def csv_lines(entries: QuerySet[Entry]) -> Iterator[str]:
    """A heading and a line for each entry, the newest first."""
    writer: Any = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    rest, page = entries.order_by("-pk"), None
    while page is None or page:
        page = list(rest[:CHUNK])
        for entry in page:
            yield writer.writerow([_cell(getattr(entry, name)) for name in COLUMNS])
        rest = entries.order_by("-pk").filter(pk__lt=page[-1].pk) if page else rest


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False) if value else ""
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
