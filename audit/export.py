"""CSV, of the log and of whatever an app that builds on it has: streamed, of a bounded size, safe in a spreadsheet."""

from __future__ import annotations

import csv
import datetime
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

LARGEST_EXPORT = 200_000  # rows; more are refused, never left out silently
LINES_AT_ONCE = 500
# Where a spreadsheet would begin to compute: at the start of a cell, and at the start of what it takes for one when its
# locale separates cells by semicolons or tabs, or does not see the quotes around a line break. It skips blanks and
# what cannot be seen, and takes full-width signs for the others.
# A quote after another separator opens a cell too, so quotes are skipped as well.
SKIPPED = r"\s\x00-\x20\x7f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff" + '"'
# A sign with the whole run of separators and skipped characters before it, so that a long run is read once only.
SIGN = re.compile(rf"(?<![;|{SKIPPED}])[;|{SKIPPED}]*+(?=[=+\-@＝＋－＠])")  # noqa: RUF001
SEPARATOR = re.compile(r"[;|\t\r\n]")
BLANK = re.compile(r"^(?=[\t\r\n])")


class _Encoder(DjangoJSONEncoder):
    """Takes whatever a row holds: what JSON does not know is written as text."""

    def default(self, o: Any) -> Any:
        try:
            return super().default(o)
        except TypeError:
            return str(o)


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


def refused(request: HttpRequest, problem: str, back: str, status: int = 400) -> HttpResponse:
    """The page that says why nothing was exported. back: where the search is."""
    context = {"problem": problem, "back": f"{back}?{request.GET.urlencode()}"}
    return render(request, "export_refused.html", context, status=status)


def why_not(rows: QuerySet[Any], *, is_valid: bool) -> str:
    """Why what was searched for is not exported; empty when it is. is_valid: the search makes sense."""
    if not is_valid:
        return _("The search has an error, so that it is not clear what to export.")
    if rows.order_by("pk")[LARGEST_EXPORT : LARGEST_EXPORT + 1].exists():
        problem = _("These are more than %(number)s rows, which is the most that one file has. Narrow the search.")
        return problem % {"number": f"{LARGEST_EXPORT:,}"}
    return ""


def _lines(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    writer: Any = csv.writer(_Echo())
    yield writer.writerow([cell(value) for value in header])
    lines = (writer.writerow([cell(value) for value in row]) for row in rows)
    while part := "".join(islice(lines, LINES_AT_ONCE)):
        yield part


def _disarmed(run: re.Match[str]) -> str:
    """What precedes a sign, with an apostrophe where a spreadsheet would take the sign for the start of a cell."""
    return f"{run[0]}'" if run.start() == 0 or SEPARATOR.search(run[0]) else run[0]


def cell(value: Any) -> Any:
    """What a cell holds. Numbers stay. In text, an apostrophe stands before whatever a spreadsheet would compute."""
    if value is None or value == {}:
        return ""
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}" if abs(value.adjusted()) < 100 else str(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, dict):
        value = json.dumps(value, cls=_Encoder, ensure_ascii=False)
    elif isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return BLANK.sub("'", SIGN.sub(_disarmed, str(value)))
