"""Downloads of rows as CSV: streamed, limited in size, and refused with a page that says why."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from exports.cells import cell

LARGEST_EXPORT = 200_000  # rows; more are refused, never left out silently
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


def refused(request: HttpRequest, problem: str, back: str, status: int = 400) -> HttpResponse:
    """The page that says why nothing was exported. back: where the search is."""
    context = {"problem": problem, "back": f"{back}?{request.GET.urlencode()}"}
    return render(request, "export_refused.html", context, status=status)


def why_not(rows: QuerySet[Any], *, is_valid: bool) -> str:
    """Why what was searched for is not exported; empty when it is. is_valid: the search makes sense."""
    if not is_valid:
        return _("The search has an error. Fix it and export again.")
    if rows.order_by("pk")[LARGEST_EXPORT : LARGEST_EXPORT + 1].exists():
        problem = _("The search finds more than %(number)s rows, the most that one file can have. Narrow it.")
        return problem % {"number": f"{LARGEST_EXPORT:,}"}
    return ""


def _lines(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    writer: Any = csv.writer(_Echo())
    yield writer.writerow([cell(value) for value in header])
    lines = (writer.writerow([cell(value) for value in row]) for row in rows)
    while part := "".join(islice(lines, LINES_AT_ONCE)):
        yield part
