"""What management sees of the sales."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.db.models import Count, Sum
from django.db.models.functions import ExtractMonth, ExtractYear
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from examples.retail.models import Sale

MONTHS = range(1, 13)


@dataclass
class Month:
    """revenue: of each store, in the order of the stores; None where nothing was sold."""

    month: datetime
    sales: int
    revenue: list[Decimal | None]
    total: Decimal


@require_safe
@login_required
@permission_required("retail.view_sale", raise_exception=True)
def revenue(request: HttpRequest) -> HttpResponse:
    """Revenue of one year by month and store: the year asked for, else the last one with sales."""
    groups = sales_by_month()
    readable = [group for group in groups if (group["year"] or 0) > 0 and group["month"] in MONTHS]
    years = sorted({group["year"] for group in readable}, reverse=True)
    asked = request.GET.get("year", "")
    year = int(asked) if asked.isdecimal() and int(asked) in years else next(iter(years), None)
    shown = [group for group in readable if group["year"] == year]
    stores = sorted({group["storeLocation"] for group in shown})
    context = {
        "years": years,
        "year": year,
        "stores": stores,
        "months": by_month(shown, stores),
        "undated": sum(group["sales"] for group in groups) - sum(group["sales"] for group in readable),
    }
    return render(request, "retail/revenue.html", context)


def sales_by_month() -> list[dict[str, Any]]:
    """Revenue and number of sales by year, month and store. A date that is none has no year or month, or 0."""
    when = {"year": ExtractYear("saleDate"), "month": ExtractMonth("saleDate")}
    groups = Sale.objects.order_by().values("storeLocation", **when)
    return list(groups.annotate(revenue=Sum("total"), sales=Count("pk")))


def by_month(groups: list[dict[str, Any]], stores: list[str]) -> list[Month]:
    """The months in which something was sold, the latest first."""
    months: dict[datetime, Month] = {}
    for group in sorted(groups, key=lambda group: -group["month"]):
        start = datetime(group["year"], group["month"], 1, tzinfo=UTC)
        month = months.setdefault(start, Month(start, 0, [None] * len(stores), Decimal()))
        month.sales += group["sales"]
        month.total += group["revenue"]
        month.revenue[stores.index(group["storeLocation"])] = group["revenue"]
    return list(months.values())
