"""A customer's dashboard, and the CSV of its charts."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required, permission_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from exports.responses import csv_response, refused
from finance.access import records_visible, visible_or_404
from finance.filters import TradeFilter
from finance.models import VIEW_OWN, Account, Customer, customer_of
from finance.portfolio import csv_of, holdings_chart, value_chart
from finance.tables import TradeTable
from finance.tiers import tiers_of
from finance.trades import newest_trades
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
    charts = [value_chart(trades), holdings_chart(trades, complete)]
    context = {
        "customer": customer,
        "unreadable": facts(customer),
        "unread": unread,
        "accounts": accounts[:ACCOUNTS_SHOWN],
        "more_accounts": max(len(set(numbers)) - ACCOUNTS_SHOWN, 0),
        "charts": [(chart, csv_of(customer, chart)) for chart in charts],
        "tiers": tiers_of(customer),
        "complete": complete,
        "has_trades": bool(trades),
        "trades": TradeTable(trades[:TRADES_SHOWN]),
    }
    return render(request, "finance/customer_dashboard.html", context)


@require_safe
@records_visible
def customer_chart(request: HttpRequest, pk: str, chart: str) -> HttpResponseBase:
    """CSV of the numbers of one chart, of the trades that the query finds."""
    customer = visible_or_404(request, Customer, pk)
    trades, complete, unread = newest_trades(customer.account_numbers)
    search = TradeFilter(request.GET, numbers=customer.account_numbers, trades=trades)
    found = search.apply(trades)
    if chart == "value":
        made = value_chart(found)
    elif chart == "holdings":
        made = holdings_chart(found, complete)
    else:
        raise Http404
    if not search.is_valid():
        return refused(request, _("The search has an error. Fix it and export again."), reverse("finance:own_trades"))
    note = [[counted(unread)]] if unread else []
    return csv_response(chart, made.columns, [*made.rows, *note])
