"""CSV: streamed, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from django.http import StreamingHttpResponse

LARGEST_EXPORT = 200_000  # rows; more are refused, never left out silently
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
LINES_AT_ONCE = 500


class _Echo:
    """A file for csv.writer that hands every line back."""

    def write(self, line: str) -> str:
        return line


def csv_response(name: str, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A download of these rows. name: of the file, without its ending; it is ours, never a visitor's."""
    response = StreamingHttpResponse(_lines(header, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    response["Cache-Control"] = "private, no-store"
    return response


def _lines(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow([cell(value) for value in header])
    lines = (writer.writerow([cell(value) for value in row]) for row in rows)
    while part := "".join(islice(lines, LINES_AT_ONCE)):
        yield part


def cell(value: Any) -> Any:
    """What a cell holds. Text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}" if abs(value.adjusted()) < 100 else str(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
