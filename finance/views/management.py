"""Senior management's dashboard: totals computed by MongoDB, and the CSV of each chart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from exports.responses import csv_response, refused
from finance import report_cache
from finance.charts import Chart, Series
from finance.models import VIEW_TOTALS, CachedReport, Customer
from finance.periods import YEAR, Range, RangeForm
from finance.report import Report, Sums, change, months_of, report, undated, unread

UNAVAILABLE = 503


@dataclass(frozen=True)
class Total:
    """A number at the top of the page, and its value in the range before; None if there is none to compare with."""

    label: str
    value: Decimal | int
    before: Decimal | int | None

    @property
    def change(self) -> float | None:
        """In percent; None if a percentage is meaningless, because the earlier value is zero or less."""
        return change(self.value, self.before) if self.before is not None and self.before > 0 <= self.value else None


class Dashboard:
    """The data of the page and its CSV files. `report` is None while nothing is known, or if nothing was traded."""

    def __init__(self, request: HttpRequest) -> None:
        self.trouble = report_cache.trouble()
        self.figures = report_cache.of_totals(compute=not self.trouble)
        self.data: Any = self.figures.data
        self.known = months_of(self.data) if self.data else None
        self.report: Report | None = None
        self.form: RangeForm | None = None
        self.top: CachedReport | None = None
        if self.data and self.known:
            self.form = RangeForm(request.GET, default=lately(self.known, YEAR))
            asked = self.form.range()
            self.report = report(self.data, asked)
            self.top = report_cache.of_top_customers(asked, compute=not self.trouble)

    @property
    def presets(self) -> list[tuple[str, str, bool]]:
        """Ranges to choose from: (name, query string, whether it is the current one)."""
        if not self.known or not self.report:
            return []
        ranges = {
            _("12 months"): lately(self.known, YEAR),
            _("3 years"): lately(self.known, 3 * YEAR),
            _("5 years"): lately(self.known, 5 * YEAR),
            _("All"): self.known,
        }
        return [
            (name, f"?first={each.first}&last={each.last}", each == self.report.asked) for name, each in ranges.items()
        ]

    @property
    def totals(self) -> list[Total]:
        now, before = (self.report.total, self.report.before) if self.report else (Sums(), None)

        def total(label: str, name: str) -> Total:
            return Total(label, getattr(now, name), getattr(before, name) if before else None)

        return [
            total(_("Value traded"), "value"),
            total(_("Bought"), "buy"),
            total(_("Sold"), "sell"),
            total(_("Net bought"), "balance"),
            total(_("Pieces traded"), "pieces"),
            total(_("Trades"), "trades"),
        ]

    @property
    def unread(self) -> int:
        return unread(self.data) if self.data else 0

    @property
    def undated(self) -> int:
        return undated(self.data)

    def charts(self) -> list[Chart]:
        if not self.report:
            return []
        made = self.report
        when = _("Year") if made.asked.by_year else _("Month")
        bought_and_sold = (Series(_("Bought"), 1), Series(_("Sold"), 2))
        return [
            Chart(
                "value", _("Value by year") if made.asked.by_year else _("Value by month"),
                (when, _("Bought"), _("Sold"), _("Value")),
                [(label, sums.buy, sums.sell, sums.value) for label, sums in made.periods.items()],
                bought_and_sold, wide=True,
            ),
            Chart(
                "pieces", _("Pieces by year") if made.asked.by_year else _("Pieces by month"),
                (when, _("Pieces"), _("Trades")),
                [(label, sums.pieces, sums.trades) for label, sums in made.periods.items()], (Series(_("Pieces"), 1),),
            ),
            Chart(
                "balance", _("Net bought"), (when, _("Net bought")),
                [(label, sums.balance) for label, sums in made.periods.items()], (Series(_("Net bought"), 1),),
            ),
            Chart(
                "symbols", _("By symbol"),
                (_("Symbol"), _("Bought"), _("Sold"), _("Value"), _("Pieces"), _("Trades")),
                [
                    (name.upper() or _("no symbol"), sums.buy, sums.sell, sums.value, sums.pieces, sums.trades)
                    for name, sums in made.symbols.items()
                ],
                bought_and_sold, shape="names", empty=_nothing_traded(),
            ),
            self._top_customers(),
            Chart(
                "products", _("By product"),
                (_("Product"), _("Value"), _("Pieces"), _("Trades"), _("Accounts"), _("Limits")),
                _with_counts(made.products, self.data["held"], "accounts", "limit"), (Series(_("Value"), 1),),
                shape="names", empty=_nothing_traded(),
                note=_("An account counts for each of its products. Accounts and limits are those of today."),
            ),
            Chart(
                "tiers", _("By tier"), (_("Tier"), _("Value"), _("Pieces"), _("Trades"), _("Customers")),
                _with_counts(made.tiers, self.data["tiered"], "customers"), (Series(_("Value"), 1),),
                shape="names", empty=_nothing_traded(),
                note=_("A customer counts for each active tier. Customers and tiers are those of today."),
            ),
        ]  # fmt: skip

    def _top_customers(self) -> Chart:
        top = self.top.data if self.top else None
        if top is None:
            empty = _("MongoDB does not respond, so the customers of this range are unknown. Try again in a moment.")
            if not self.trouble:
                empty = _("The customers of this range are being computed. Reload the page in a moment.")
        else:
            empty = _nothing_traded()
        return Chart(
            "customers", _("Top customers"), (_("Customer"), _("Value"), _("Pieces"), _("Trades")),
            [(name, Decimal(value), pieces, trades) for _id, name, trades, pieces, value in top or []],
            (Series(_("Value"), 1),), shape="names", empty=empty,
            urls=[Customer(pk=pk).get_absolute_url() for pk, *_rest in top or []],
        )  # fmt: skip


def _nothing_traded() -> str:
    return _("No trades in this range. Choose a longer one.")


@require_safe
@login_required
@permission_required(VIEW_TOTALS, raise_exception=True)
def totals_dashboard(request: HttpRequest) -> HttpResponse:
    """The totals, with the time at which MongoDB computed them."""
    dashboard = Dashboard(request)
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    charts = [(chart, reverse("finance:totals_chart", args=[chart.key]) + query) for chart in dashboard.charts()]
    return render(request, "finance/totals_dashboard.html", {"dashboard": dashboard, "charts": charts})


@require_safe
@login_required
@permission_required(VIEW_TOTALS, raise_exception=True)
def totals_chart(request: HttpRequest, chart: str) -> HttpResponseBase:
    """CSV of the numbers of one chart, in the range of the page."""
    if chart not in CHARTS:
        raise Http404
    dashboard = Dashboard(request)
    back = reverse("finance:totals_dashboard")
    if dashboard.form and not dashboard.form.is_valid():
        problem = _("The range has an error. Fix it and export again.")
        return refused(request, problem, back)
    made = {each.key: each for each in dashboard.charts()}
    unknown = dashboard.data is None or (chart == "customers" and (not dashboard.top or dashboard.top.data is None))
    if unknown and (dashboard.data is None or dashboard.known):
        problem = _("These totals are not available yet. Try again in a moment.")
        return refused(request, problem, back, UNAVAILABLE)
    if chart not in made:
        return csv_response(chart, (), ())
    return csv_response(chart, made[chart].columns, made[chart].rows)


CHARTS = ("value", "pieces", "balance", "symbols", "products", "tiers", "customers")


def lately(known: Range, months: int) -> Range:
    """The last months with trades."""
    return Range(known.last + (1 - months), known.last)


def _with_counts(traded: dict[str, Sums], counts: Iterable[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """A row for each name with value, pieces, trades and today's counts; names without trades come last, with zeros."""
    today = {row["name"]: tuple(row[name] for name in names) for row in counts}
    sums = traded | {name: Sums() for name in today if name not in traded}
    return [
        (name or _("none"), each.value, each.pieces, each.trades, *today.get(name, (None,) * len(names)))
        for name, each in sums.items()
    ]
