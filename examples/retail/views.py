"""What management sees of the sales."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.contrib.auth.decorators import login_required, permission_required
from django.db.models import Count, Sum
from django.db.models.functions import ExtractYear, TruncMonth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from examples.retail.models import Sale


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
    years = list(Sale.objects.order_by().values_list(ExtractYear("saleDate"), flat=True).distinct())
    years.sort(reverse=True)
    asked = request.GET.get("year", "")
    year = int(asked) if asked.isdecimal() and int(asked) in years else next(iter(years), None)
    sales = Sale.objects.filter(saleDate__year=year) if year else Sale.objects.none()
    stores = list(sales.order_by("storeLocation").values_list("storeLocation", flat=True).distinct())
    context = {"years": years, "year": year, "stores": stores, "months": by_month(sales, stores)}
    return render(request, "retail/revenue.html", context)


def by_month(sales: object, stores: list[str]) -> list[Month]:
    """The months in which something was sold, the latest first."""
    groups = (
        sales.order_by()  # type: ignore[attr-defined]
        .values("storeLocation", month=TruncMonth("saleDate"))
        .annotate(revenue=Sum("total"), sales=Count("pk"))
        .order_by("-month")
    )
    months: dict[datetime, Month] = {}
    for group in groups:
        month = months.setdefault(group["month"], Month(group["month"], 0, [None] * len(stores), Decimal()))
        month.sales += group["sales"]
        month.total += group["revenue"]
        month.revenue[stores.index(group["storeLocation"])] = group["revenue"]
    return list(months.values())
