"""The audit log as a page and as CSV, for whoever may see it."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit.export import csv_lines
from audit.filters import EntryFilter
from audit.models import Entry

PAGE = 50


@require_safe
@login_required
@permission_required("audit.view_entry", raise_exception=True)
@never_cache
def entries(request: HttpRequest) -> HttpResponse:
    """The newest first. Pages go on below an entry's key, so that they stay as they are while entries are added."""
    found = EntryFilter(request.GET, Entry.objects.all())
    page, below = _matching(found).order_by("-pk"), request.GET.get("below", "")
    if below.isascii() and below.isdigit():
        page = page.filter(pk__lt=int(below[:18]))
    shown = list(page[: PAGE + 1])
    searched = request.GET.copy()
    searched.pop("below", None)
    context = {
        "filter": found,
        "entries": shown[:PAGE],
        "older": shown[PAGE - 1].pk if len(shown) > PAGE else None,
        "below": below,
        "search": searched.urlencode(),
    }
    return render(request, "audit/entries.html", context)


@require_safe
@login_required
@permission_required("audit.view_entry", raise_exception=True)
@never_cache
def export(request: HttpRequest) -> StreamingHttpResponse:
    """All that match the same filters as the page's."""
    lines = csv_lines(_matching(EntryFilter(request.GET, Entry.objects.all())))
    disposition = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=disposition)


def _matching(found: EntryFilter):  # type: ignore[no-untyped-def]
    return found.qs if found.is_valid() else Entry.objects.none()
