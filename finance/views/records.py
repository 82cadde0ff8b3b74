"""The list of each record type, its CSV, and a page for each record. Customers find their own records there."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import capfirst
from django.views.decorators.http import require_safe
from django_filters import FilterSet

from exports.responses import csv_response, refused, why_not
from finance.access import records_visible, visible_or_404
from finance.paging import all_of, page_of, size_of_page
from finance.record_types import RecordType
from finance.tables import InOrder
from finance.unreadable import exported, facts, note


@require_safe
@records_visible
def record_list(request: HttpRequest, kind: RecordType) -> HttpResponse:
    filterset, records = _found(request, kind)
    order = kind.order(request.GET.get("sort", ""))
    page = page_of(
        records, order, after=request.GET.get("after", ""), before=request.GET.get("before", ""),
        size=size_of_page(request.GET.get("per_page", "")),
    )  # fmt: skip
    context = {
        "kind": kind,
        "title": capfirst(str(kind.model._meta.verbose_name_plural)),
        "note": note(page.records),
        "table": kind.table(InOrder(page.records), order_by=(order.name,)),
        "page": page,
        "filter": filterset,
        "searched": any(request.GET.get(name) for name in filterset.filters),
    }
    return render(request, "finance/record_list.html", context)


@require_safe
@records_visible
def record_export(request: HttpRequest, kind: RecordType) -> HttpResponseBase:
    """CSV of exactly the rows of the list with these filters, in its order, or the reason why there is none."""
    filterset, records = _found(request, kind)
    if problem := why_not(records, is_valid=filterset.is_valid()):
        return refused(request, problem, reverse(kind.pages["list"]))
    order = kind.order(request.GET.get("sort", ""))
    return csv_response(kind.slug, kind.header, exported(all_of(records, order), kind.row))


@require_safe
@records_visible
def record_detail(request: HttpRequest, kind: RecordType, pk: str) -> HttpResponse:
    record = visible_or_404(request, kind.model, pk)
    (row,) = kind.table([record]).rows
    context = {"kind": kind, "record": record, "title": str(record), "row": row, "unreadable": facts(record)}
    templates = [f"finance/{kind.name}_detail.html", "finance/record_detail.html"]
    return render(request, templates, context | kind.related(request, record))


def _found(request: HttpRequest, kind: RecordType) -> tuple[FilterSet, Any]:
    """The filters and the visible records that match them; none while a filter is wrong."""
    visible = kind.model.objects.visible_to(request.user).defer(*kind.deferred)
    filterset = kind.filters(request.GET, queryset=visible)
    return filterset, filterset.qs if filterset.is_valid() else visible.none()
