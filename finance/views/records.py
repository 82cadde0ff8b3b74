"""The list of each record type, its CSV, and a page for each record. Customers find their own records there."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from django_filters import FilterSet

from exports.responses import csv_response, refused, why_not
from finance.access import records_visible, visible_or_404
from finance.counting import count_of
from finance.filters import chips
from finance.models import VIEW_ALL
from finance.paging import all_of, chosen, page_of, size_of_page
from finance.record_types import RecordType
from finance.tables import InOrder, SelectColumn
from finance.unreadable import exported, facts, note


@require_safe
@records_visible
def record_list(request: HttpRequest, kind: RecordType) -> HttpResponse:
    sees_all = _sees_all_or_404(request, kind)
    filterset, records = _found(request, kind)
    order = kind.order(request.GET.get("sort", ""))
    size = size_of_page(request.GET.get("per_page", ""))
    page = page_of(records, order, after=request.GET.get("after", ""), before=request.GET.get("before", ""), size=size)
    used = chips(filterset.form, request.GET)
    columns: Any = {"extra_columns": [("only", SelectColumn())], "sequence": ("only", "...")} if sees_all else {}
    context = {
        "kind": kind,
        "title": capfirst(str(kind.model._meta.verbose_name_plural)),
        "note": note(page.records),
        "table": kind.table(InOrder(page.records), order_by=(order.name,), **columns),
        "page": page,
        "count": count_of(page, records, searched=bool(used) or not sees_all),
        "filter": filterset,
        "chips": used,
        "size": size,
    }
    return render(request, "finance/record_list.html", context)


@require_safe
@records_visible
def record_export(request: HttpRequest, kind: RecordType) -> HttpResponseBase:
    """CSV of exactly the rows of the list with these filters, in its order, or the reason why there is none.

    `only` names the keys of selected rows. It is sent once without a key, so that an empty selection is not everything.
    """
    sees_all = _sees_all_or_404(request, kind)
    filterset, records = _found(request, kind)
    if only := request.GET.getlist("only"):
        records = chosen(records, keys := [key for key in only if key])
        if not keys:
            return refused(request, _("No row is selected. Select rows and export again."), reverse(kind.pages["list"]))
    if problem := why_not(records, is_valid=filterset.is_valid()):
        return refused(request, problem, reverse(kind.pages["list"]))
    order = kind.order(request.GET.get("sort", ""))
    first = 0 if sees_all else 1  # keys mean nothing to customers
    rows = exported(all_of(records, order), lambda record: kind.row(record)[first:])
    return csv_response(kind.slug, kind.header[first:], rows)


@require_safe
@records_visible
def record_detail(request: HttpRequest, kind: RecordType, pk: str) -> HttpResponse:
    _sees_all_or_404(request, kind)
    record = visible_or_404(request, kind.model, pk)
    (row,) = kind.table([record]).rows
    context = {"kind": kind, "record": record, "title": str(record), "row": row, "unreadable": facts(record)}
    templates = [f"finance/{kind.name}_detail.html", "finance/record_detail.html"]
    return render(request, templates, context | kind.related(request, record))


def _sees_all_or_404(request: HttpRequest, kind: RecordType) -> bool:
    """Whether the user sees the records of all customers. 404 for a customer if customers have no records of a type."""
    sees_all = request.user.has_perm(VIEW_ALL)
    if not sees_all and not kind.own:
        raise Http404
    return sees_all


def _found(request: HttpRequest, kind: RecordType) -> tuple[FilterSet, Any]:
    """The filters and the visible records that match them; none while a filter is wrong."""
    visible = kind.model.objects.visible_to(request.user).defer(*kind.deferred)
    filterset = kind.filters(request.GET, queryset=visible)
    return filterset, filterset.qs if filterset.is_valid() else visible.none()
