"""All trades of a customer: their own page, and the CSV of what it finds."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required, permission_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from exports.responses import csv_response, refused
from finance.access import records_visible, visible_or_404
from finance.filters import TradeFilter, chips, presets
from finance.models import VIEW_OWN, Customer, customer_of
from finance.paging import size_of_page
from finance.tables import InOrder, TradeTable, order_of
from finance.trades import Trade, in_order, newest_trades, totals_of
from finance.unreadable import counted


@require_safe
@login_required
@permission_required(VIEW_OWN, raise_exception=True)
def own_trades(request: HttpRequest) -> HttpResponse:
    """The trades of all accounts of the customer, with totals of those that the search finds."""
    customer = customer_of(request.user)
    if customer is None:
        return render(request, "finance/not_linked.html")
    trades, complete, unread = newest_trades(customer.account_numbers)
    search = TradeFilter(request.GET, numbers=customer.account_numbers, trades=trades)
    order = order_of(TradeTable, request.GET.get("sort", "")).name
    found = in_order(search.apply(trades), order)
    table = TradeTable(InOrder(found), order_by=(order,), orderable=True)
    size = size_of_page(request.GET.get("per_page", ""))
    table.paginator = Paginator(table.rows, size)
    table.page = table.paginator.get_page(request.GET.get("page"))
    context = {
        "customer": customer,
        "unread": unread,
        "complete": complete,
        "search": search,
        "chips": chips(search, request.GET),
        "presets": presets(request.GET, timezone.now().date()),
        "has_trades": bool(trades),
        "totals": totals_of(found),
        "trades": table,
        "size": size,
    }
    return render(request, "finance/trades.html", context)


@require_safe
@records_visible
def customer_trades(request: HttpRequest, pk: str) -> HttpResponseBase:
    """CSV of exactly the trades that the page finds with this query, in its order."""
    customer = visible_or_404(request, Customer, pk)
    trades, _complete, unread = newest_trades(customer.account_numbers)
    search = TradeFilter(request.GET, numbers=customer.account_numbers, trades=trades)
    if not search.is_valid():
        return refused(request, _("The search has an error. Fix it and export again."), reverse("finance:own_trades"))
    found = in_order(search.apply(trades), order_of(TradeTable, request.GET.get("sort", "")).name)
    note = [[counted(unread)]] if unread else []
    return csv_response("trades", Trade.COLUMNS, [*(trade.row for trade in found), *note])
