"""A customer's dashboard, and the CSV of its parts."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from exports.responses import csv_response, refused
from finance.access import records_visible, visible_or_404
from finance.charts import Chart
from finance.filters import TradeFilter
from finance.models import VIEW_OWN, Account, Customer, customer_of
from finance.portfolio import holdings_chart, uses, value_chart
from finance.tables import TradeTable
from finance.tiers import tiers_of
from finance.trades import Trade, newest_trades
from finance.unreadable import counted, facts

ACCOUNTS_SHOWN = 50
TRADES_SHOWN = 10


@require_safe
@login_required
@permission_required(VIEW_OWN, raise_exception=True)
def customer_dashboard(request: HttpRequest) -> HttpResponse:
    """The customer's own records, or what to do next while no record is linked."""
    customer = customer_of(request.user)
    if customer is None:
        return render(request, "finance/not_linked.html")
    numbers = customer.account_numbers
    accounts = Account.objects.filter(account_id__in=numbers).defer("extra").order_by("account_id", "pk")
    trades, complete, unread = newest_trades(numbers)
    search = TradeFilter(request.GET, symbols=_symbols(trades))
    found = search.apply(trades)
    table = TradeTable(found, sequence=("date", "account_id", "..."))
    table.paginator = Paginator(table.rows, TRADES_SHOWN)
    table.page = table.paginator.get_page(request.GET.get("page"))
    charts = [value_chart(trades), holdings_chart(trades, complete)]
    context = {
        "customer": customer,
        "unreadable": facts(customer),
        "unread": unread,
        "uses": uses(accounts[:ACCOUNTS_SHOWN], trades),
        "more_accounts": max(len(set(numbers)) - ACCOUNTS_SHOWN, 0),
        "charts": [(chart, _csv_of(customer, chart)) for chart in charts],
        "tiers": tiers_of(customer),
        "search": search,
        "searched": any(request.GET.get(name) for name in search.fields),
        "found": len(found),
        "has_trades": bool(trades),
        "complete": complete,
        "trades": table,
    }
    return render(request, "finance/customer_dashboard.html", context)


@require_safe
@records_visible
def customer_trades(request: HttpRequest, pk: str) -> HttpResponseBase:
    """CSV of exactly the trades that the dashboard shows with these filters."""
    customer = visible_or_404(request, Customer, pk)
    trades, _complete, unread = newest_trades(customer.account_numbers)
    search = TradeFilter(request.GET, symbols=_symbols(trades))
    found = search.apply(trades)
    if not search.is_valid():
        problem = _("The search has an error. Fix it and export again.")
        return refused(request, problem, reverse("finance:customer_dashboard"))
    columns = ("date", "account_id", "symbol", "transaction_code", "amount", "price", "total")
    return csv_response("trades", columns, [*map(_row, found), *_note(unread)])


@require_safe
@records_visible
def customer_chart(request: HttpRequest, pk: str, chart: str) -> HttpResponseBase:
    """CSV of the numbers of one chart."""
    customer = visible_or_404(request, Customer, pk)
    trades, complete, unread = newest_trades(customer.account_numbers)
    if chart == "value":
        made = value_chart(trades)
    elif chart == "holdings":
        made = holdings_chart(trades, complete)
    else:
        raise Http404
    return csv_response(chart, made.columns, [*made.rows, *_note(unread)])


def _csv_of(customer: Customer, chart: Chart) -> str:
    """The URL of a chart's CSV; empty for a record whose key is not an ObjectId, which has no page of its own."""
    try:
        return reverse("finance:customer_chart", args=[customer.pk, chart.key])
    except NoReverseMatch:
        return ""


def _note(unread: int) -> list[list[str]]:
    """The last line of a CSV that is not complete."""
    return [[counted(unread)]] if unread else []


def _symbols(trades: list[Trade]) -> list[str]:
    return sorted({trade.symbol for trade in trades if trade.symbol})


def _row(trade: Trade) -> list[Any]:
    return [trade.date, trade.account_id, trade.symbol, trade.code, trade.amount, trade.price, trade.total]
