"""Senior management's dashboard: totals computed by MongoDB, the CSV of each chart, and the trades behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required, permission_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from pymongo.errors import PyMongoError

from exports.responses import LARGEST_EXPORT, csv_response, refused
from finance import report_cache
from finance.charts import Chart, Series
from finance.found_trades import MOST_PAGES, ORDERS, Busy, Found, Search
from finance.models import VIEW_ALL, VIEW_TOTALS, CachedReport, Customer, SavedView
from finance.narrowing import ALL, NONE
from finance.paging import size_of_page
from finance.periods import YEAR, Month, Range
from finance.report import Report, Sums, change, months_of, report, undated, unread
from finance.report_forms import FoundTradesForm, NarrowForm
from finance.tables import FoundTradeTable, InOrder
from finance.trades import Trade
from sync.mongodb import errors

UNAVAILABLE = 503
CHARTS = ("value", "pieces", "balance", "symbols", "products", "tiers", "customers")


@dataclass(frozen=True)
class Total:
    """A number at the top of the page, and its value in the range before; None if there is none to compare with."""

    label: str
    value: Decimal | int
    before: Decimal | int | None
    unit: str = ""

    @property
    def change(self) -> float | None:
        """In percent; None if a percentage is meaningless, because the earlier value is zero or less."""
        return change(self.value, self.before) if self.before is not None and self.before > 0 <= self.value else None


class Question:
    """What is asked of the totals: months, and what narrows them. `form` is None until totals are known."""

    form_class: type[NarrowForm] = NarrowForm

    def __init__(self, request: HttpRequest) -> None:
        self.trouble = report_cache.trouble()
        self.figures = report_cache.of_totals(compute=not self.trouble)
        self.data: Any = self.figures.data
        self.known = months_of(self.data) if self.data else None
        self.form: Any = None
        self.only = ALL
        if self.data and self.known:
            customers = Customer.objects.visible_to(request.user)
            self.form = self.form_class(
                request.GET, default=lately(self.known, YEAR), known=names_in(self.data), customers=customers
            )
            self.only = self.form.narrowing()

    @property
    def presets(self) -> list[tuple[str, str, bool]]:
        """Ranges to choose from: (name, query string, whether it is the current one)."""
        if not self.known:
            return []
        ranges = {
            _("12 months"): lately(self.known, YEAR),
            _("3 years"): lately(self.known, 3 * YEAR),
            _("5 years"): lately(self.known, 5 * YEAR),
            _("All"): self.known,
        }
        default = ranges[_("12 months")]  # named by no months, so that a saved view of it goes along with time
        return [
            (
                name,
                self.form.query(first="", last="") if each == default else self.form.query(**each.query),
                each == self.form.range(),
            )
            for name, each in ranges.items()
        ]


class Dashboard(Question):
    """The data of the page and its CSV files. `report` is None while nothing is known, or if nothing was traded."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self.may_open = request.user.has_perm(VIEW_ALL)  # the trades behind a number
        self.report: Report | None = None
        self.top: CachedReport | None = None
        self.traded = self.figures
        if self.form:
            self._answer()

    def _answer(self) -> None:
        """Finds the report on what is asked for, unless it is still being computed."""
        asked, compute = self.form.range(), not self.trouble
        if self.only != ALL:
            self.traded = report_cache.of_traded(self.only, compute=compute)
        if self.traded.data:
            self.report = report(self.data | self.traded.data, asked)
            self.top = report_cache.of_top_customers(asked, self.only, compute=compute)

    @property
    def totals(self) -> list[Total]:
        now, before = (self.report.total, self.report.before) if self.report else (Sums(), None)

        def total(label: str, name: str, unit: str = "") -> Total:
            return Total(label, getattr(now, name), getattr(before, name) if before else None, unit)

        return [
            total(_("Value traded"), "value", settings.CURRENCY),
            total(_("Bought"), "buy", settings.CURRENCY),
            total(_("Sold"), "sell", settings.CURRENCY),
            total(_("Net bought"), "balance", settings.CURRENCY),
            total(_("Pieces traded"), "pieces"),
            total(_("Trades"), "trades"),
        ]

    @property
    def unread(self) -> int:
        return unread(self.data) if self.data else 0

    @property
    def undated(self) -> int:
        return undated(self.data | (self.traded.data or {}))

    @property
    def partial(self) -> dict[str, str]:
        """See Range.partial."""
        return self.form.range().partial(self.traded.as_of) if self.form and self.traded.as_of else {}

    @property
    def is_unfinished(self) -> bool:
        """Whether the range includes the current month, so that the range before has more days."""
        return self.traded.as_of is not None and Month.of(self.traded.as_of) in self.form.range()

    def charts(self) -> list[Chart]:
        if not self.report:
            return []
        made = self.report
        when = _("Year") if made.asked.by_year else _("Month")
        bought_and_sold = (Series(_("Bought"), 1, "side=buy"), Series(_("Sold"), 2, "side=sell"))
        of_periods: Any = {"urls": [*map(self._trades_in, made.periods)], "partial": self.partial}
        money: Any = {"unit": settings.CURRENCY}
        return [
            Chart(
                "value", _("Value by year") if made.asked.by_year else _("Value by month"),
                (when, _("Bought"), _("Sold"), _("Value")),
                [(label, sums.buy, sums.sell, sums.value) for label, sums in made.periods.items()],
                bought_and_sold, wide=True, **money, **of_periods,
            ),
            Chart(
                "pieces", _("Pieces by year") if made.asked.by_year else _("Pieces by month"),
                (when, _("Pieces"), _("Trades")),
                [(label, sums.pieces, sums.trades) for label, sums in made.periods.items()], (Series(_("Pieces"), 1),),
                **of_periods,
            ),
            Chart(
                "balance", _("Net bought"), (when, _("Net bought")),
                [(label, sums.balance) for label, sums in made.periods.items()], (Series(_("Net bought"), 1),),
                **money, **of_periods,
            ),
            Chart(
                "symbols", _("By symbol"),
                (_("Symbol"), _("Bought"), _("Sold"), _("Value"), _("Pieces"), _("Trades")),
                [
                    (name.upper() or _("no symbol"), sums.buy, sums.sell, sums.value, sums.pieces, sums.trades)
                    for name, sums in made.symbols.items()
                ],
                bought_and_sold, shape="names", empty=_nothing_traded(), **money,
                urls=[self._trades(symbol=name or NONE) for name in made.symbols],
            ),
            self._top_customers(),
            self._by_name(
                "products", _("By product"), (_("Product"), _("Accounts"), _("Limits")),
                with_counts(made.products, self.data["held"], "accounts", "limit"),
                _("An account counts for each of its products. Accounts and limits are those of today."),
            ),
            self._by_name(
                "tiers", _("By tier"), (_("Tier"), _("Customers")),
                with_counts(made.tiers, self.data["tiered"], "customers"),
                _("A customer counts for each active tier. Customers and tiers are those of today."),
            ),
        ]  # fmt: skip

    def _by_name(
        self, key: str, title: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]], note: str
    ) -> Chart:
        rows = list(rows)
        name, *counts = columns
        return Chart(
            key, title, (name, _("Value"), _("Pieces"), _("Trades"), *counts),
            [(label or _("none"), *numbers) for label, *numbers in rows], (Series(_("Value"), 1),),
            shape="names", empty=_nothing_traded(), note=note, unit=settings.CURRENCY,
            urls=[self._trades(**{key.removesuffix("s"): label or NONE}) for label, *_rest in rows],
        )  # fmt: skip

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
            (Series(_("Value"), 1),), shape="names", empty=empty, unit=settings.CURRENCY,
            urls=[self._trades(customer=pk) for pk, *_rest in top or []],
        )  # fmt: skip

    def _trades(self, **more: str) -> str:
        return reverse("finance:totals_trades") + self.form.query(**more) if self.may_open else ""

    def _trades_in(self, label: str) -> str:
        """The trades of one month or year of the range."""
        asked = self.form.range()
        months = [month for month in asked.months if asked.label(month) == label]
        return self._trades(first=str(months[0]), last=str(months[-1]))


class TradesQuestion(Question):
    """What is asked of the trades: the same, one side of them, and their order."""

    form_class = FoundTradesForm

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        sort = request.GET.get("sort", "")
        self.order = sort if sort.removeprefix("-") in ORDERS else "-date"

    @property
    def search(self) -> Search:
        """Needs a form without errors."""
        return Search(self.form.range(), self.only, self.form.side_chosen, self.order)


def names_in(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names to choose from, by field."""
    return {
        "symbol": sorted({cell[1] for cell in data["symbols"] if cell[1]}),
        "product": sorted({cell[1] for cell in data["products"] if cell[1]} | {row["name"] for row in data["held"]}),
        "tier": sorted({cell[1] for cell in data["tiers"] if cell[1]} | {row["name"] for row in data["tiered"]}),
    }


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
    views = SavedView.objects.filter(user=request.user.pk).order_by("name")
    return render(request, "finance/totals_dashboard.html", {"dashboard": dashboard, "charts": charts, "views": views})


@require_safe
@login_required
@permission_required(VIEW_TOTALS, raise_exception=True)
def totals_chart(request: HttpRequest, chart: str) -> HttpResponseBase:
    """CSV of the numbers of one chart, of what the page is narrowed to."""
    if chart not in CHARTS:
        raise Http404
    dashboard = Dashboard(request)
    back = reverse("finance:totals_dashboard")
    if dashboard.form and not dashboard.form.is_valid():
        return refused(request, _("The search has an error. Fix it and export again."), back)
    made = {each.key: each for each in dashboard.charts()}
    has_customers = dashboard.top is not None and dashboard.top.data is not None
    unknown = dashboard.traded.data is None or (chart == "customers" and not has_customers)
    if unknown and (dashboard.data is None or dashboard.known):
        return refused(request, _not_yet(), back, UNAVAILABLE)
    if chart not in made:
        return csv_response(chart, (), ())
    return csv_response(chart, made[chart].columns, made[chart].rows)


@require_safe
@login_required
@permission_required((VIEW_TOTALS, VIEW_ALL), raise_exception=True)
def totals_trades(request: HttpRequest) -> HttpResponse:
    """The trades behind a number of the dashboard, read from MongoDB now."""
    question = TradesQuestion(request)
    context: dict[str, Any] = {"dashboard": question, "form": question.form}
    if question.form and question.form.is_valid() and not question.trouble:
        size = size_of_page(request.GET.get("per_page", ""))
        number = request.GET.get("page", "")
        page = min(int(number), MOST_PAGES) if number.isdecimal() and 0 < len(number) < 6 and int(number) else 1
        search = question.search
        try:
            found = search.page(page, size)
        except Busy as busy:
            context["problem"] = busy
        except PyMongoError as error:
            context["problem"] = errors.reason(error)
        else:
            context |= {"totals": found.totals, "trades": _table(found, search, page, size), "size": size}
    return render(request, "finance/found_trades.html", context)


@require_safe
@login_required
@permission_required((VIEW_TOTALS, VIEW_ALL), raise_exception=True)
def totals_trades_export(request: HttpRequest) -> HttpResponseBase:
    """CSV of exactly the trades that the page finds with this query, in its order."""
    question = TradesQuestion(request)
    back = reverse("finance:totals_trades")
    if question.data and not question.known:
        return csv_response("trades", Trade.COLUMNS, ())
    if question.form is None or question.trouble:
        return refused(request, _not_yet(), back, UNAVAILABLE)
    if not question.form.is_valid():
        return refused(request, _("The search has an error. Fix it and export again."), back)
    search = question.search
    try:
        if search.page(1, 1).totals.trades > LARGEST_EXPORT:
            problem = _("The search finds more than %(number)s rows, the most that one file can have. Narrow it.")
            return refused(request, problem % {"number": f"{LARGEST_EXPORT:,}"}, back)
        rows = search.all()
    except (PyMongoError, Busy):
        return refused(request, _not_yet(), back, UNAVAILABLE)
    return csv_response("trades", Trade.COLUMNS, (trade.row for trade in rows))


def _not_yet() -> str:
    return _("These totals are not available yet. Try again in a moment.")


def _table(found: Found, search: Search, page: int, size: int) -> FoundTradeTable:
    """The page's rows, with a pager over all that can be opened."""
    table = FoundTradeTable(InOrder(found.trades), order_by=(search.order,), orderable=True)
    count = min(found.totals.trades, MOST_PAGES * size)
    table.paginator = Paginator(range(count), size)
    table.page = table.paginator.get_page(page)
    table.page.object_list = table.rows
    return table


def lately(known: Range, months: int) -> Range:
    """The last months with trades."""
    return Range(known.last + (1 - months), known.last)


def with_counts(traded: dict[str, Sums], counts: Iterable[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """A row for each name with value, pieces, trades and today's counts; names without trades come last, with zeros."""
    today = {row["name"]: tuple(row[name] for name in names) for row in counts}
    sums = traded | {name: Sums() for name in today if name not in traded}
    return [
        (name, each.value, each.pieces, each.trades, *today.get(name, (None,) * len(names)))
        for name, each in sums.items()
    ]
