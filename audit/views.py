"""The audit log as a page and as CSV, for users with permission."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib.auth.decorators import login_required, permission_required
from django.db.models import CharField, Q, QuerySet
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit.filters import EntryFilter
from audit.models import Entry
from audit.objects import add_links
from exports.responses import csv_response, refused, why_not

PAGE = 50
CHUNK = 1000  # entries in memory while they are exported
NEWEST = ("-at", "-pk")  # first
COLUMNS = ("at", "who", "who_id", "act", "model", "key", "text", "before", "after", "address")


@require_safe
@login_required
@permission_required("audit.view_entry", raise_exception=True)
@never_cache
def entries(request: HttpRequest) -> HttpResponse:
    """The newest first. Pages are keyed by an entry, so they stay stable while entries are added."""
    found = EntryFilter(request.GET, Entry.objects.all())
    page, below = _matching(found).order_by(*NEWEST), request.GET.get("below", "")
    if below.isascii() and below.isdigit():
        last = Entry.objects.filter(pk=int(below[:18])).first()
        page = _below(page, last) if last else page.none()
    shown = list(page[: PAGE + 1])
    add_links(request, shown[:PAGE])
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
def export(request: HttpRequest) -> HttpResponseBase:
    """All entries that match the page's filters, the newest first; or the reason why there is no export."""
    found = EntryFilter(request.GET, Entry.objects.all())
    if problem := why_not(_matching(found), is_valid=found.is_valid()):
        return refused(request, problem, reverse("audit:entries"))
    return csv_response("audit", COLUMNS, _rows(_matching(found).order_by(*NEWEST)))


def _rows(entries: QuerySet[Entry]) -> Iterator[list[object]]:
    rest = entries
    while page := list(rest[:CHUNK]):
        yield from ([getattr(entry, name) for name in COLUMNS] for entry in page)
        rest = _below(entries, page[-1])


def _below(entries: QuerySet[Entry], last: Entry) -> QuerySet[Entry]:
    """Entries after `last`. The second condition implies the first, which is the one that an index serves."""
    if last.at is None:  # SQL has written a date that does not exist; as text it compares in sort order
        moment = Cast("at", CharField())
        text = Entry.objects.filter(pk=last.pk).values_list(moment, flat=True).get()
        entries = entries.alias(moment=moment)
        return entries.filter(Q(moment__lt=text) | Q(moment=text, pk__lt=last.pk))
    return entries.filter(Q(at__lte=last.at), Q(at__lt=last.at) | Q(pk__lt=last.pk))


def _matching(found: EntryFilter):  # type: ignore[no-untyped-def]
    return found.qs if found.is_valid() else Entry.objects.none()
