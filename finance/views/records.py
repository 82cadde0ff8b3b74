"""Lists of accounts, customers and transactions, their CSV, and a page for each. A customer finds their own there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe
from django_filters import FilterSet
from django_tables2 import Table

from audit.export import csv_response, refused, why_not
from finance.access import records_visible, visible_or_404
from finance.filters import AccountFilter, CustomerFilter, TransactionFilter
from finance.models import EDIT_RECORDS, Account, Customer, Transaction
from finance.paging import all_of, page_of, size_of_page
from finance.tables import AccountTable, CustomerTable, InOrder, TradeTable, TransactionTable, order_of
from finance.tiers import tier_names, tiers_of
from finance.trades import trades_of
from finance.unreadable import exported, facts, note

RELATED = 20  # records of another kind that a record's page shows


@dataclass(frozen=True)
class Listing:
    """What a list is made of. row: a record's cells in CSV, under the columns' names as the data has them."""

    model: type[Account] | type[Customer] | type[Transaction]
    filters: type[FilterSet]
    table: type[Table]
    left_out: tuple[str, ...]
    columns: tuple[str, ...]
    row: Callable[[Any], list[Any]]

    def select(self, request: HttpRequest) -> tuple[FilterSet, Any]:
        """The filters, and what of the visible records they leave; nothing where one of them is wrong."""
        visible = self.model.objects.visible_to(request.user).defer(*self.left_out)
        filterset = self.filters(request.GET, queryset=visible)
        return filterset, filterset.qs if filterset.is_valid() else visible.none()


ACCOUNTS = Listing(
    Account, AccountFilter, AccountTable, ("extra",), ("_id", "account_id", "limit", "products"),
    lambda account: [account.pk, account.account_id, account.limit, account.products],
)  # fmt: skip
CUSTOMERS = Listing(
    Customer, CustomerFilter, CustomerTable, ("extra",),
    ("_id", "username", "name", "email", "address", "birthdate", "active", "accounts", "tiers"),
    lambda customer: [
        customer.pk, customer.username, customer.name, customer.email, customer.address, customer.birthdate,
        customer.active, customer.accounts, tier_names(customer),
    ],
)  # fmt: skip
TRANSACTIONS = Listing(
    Transaction, TransactionFilter, TransactionTable, ("extra", "transactions"),
    ("_id", "account_id", "transaction_count", "bucket_start_date", "bucket_end_date"),
    lambda bucket: [
        bucket.pk, bucket.account_id, bucket.transaction_count, bucket.bucket_start_date, bucket.bucket_end_date
    ],
)  # fmt: skip


@require_safe
@records_visible
def account_list(request: HttpRequest) -> HttpResponse:
    return _list(request, ACCOUNTS)


@require_safe
@records_visible
def account_export(request: HttpRequest) -> HttpResponseBase:
    return _export(request, ACCOUNTS)


@require_safe
@records_visible
def customer_list(request: HttpRequest) -> HttpResponse:
    return _list(request, CUSTOMERS)


@require_safe
@records_visible
def customer_export(request: HttpRequest) -> HttpResponseBase:
    return _export(request, CUSTOMERS)


@require_safe
@records_visible
def transaction_list(request: HttpRequest) -> HttpResponse:
    return _list(request, TRANSACTIONS)


@require_safe
@records_visible
def transaction_export(request: HttpRequest) -> HttpResponseBase:
    return _export(request, TRANSACTIONS)


@require_safe
@records_visible
def account_detail(request: HttpRequest, pk: str) -> HttpResponse:
    account = visible_or_404(request, Account, pk)
    numbers = [account.account_id] if isinstance(account.account_id, int) else []
    buckets = Transaction.objects.visible_to(request.user).filter(account_id__in=numbers)
    newest = buckets.defer("extra", "transactions").order_by("-bucket_end_date", "-pk")[:RELATED]
    context = {
        "account": account,
        "unreadable": facts(account),
        "buckets": _part(TransactionTable, newest),
        "editable": request.user.has_perm(EDIT_RECORDS),
    }
    return render(request, "finance/account_detail.html", context)


@require_safe
@records_visible
def customer_detail(request: HttpRequest, pk: str) -> HttpResponse:
    customer = visible_or_404(request, Customer, pk)
    accounts = Account.objects.visible_to(request.user).filter(account_id__in=customer.account_numbers)
    table = _part(AccountTable, accounts.order_by("account_id", "pk")[:RELATED])
    context = {
        "customer": customer,
        "unreadable": facts(customer),
        "accounts": table,
        "tiers": tiers_of(customer),
        "editable": request.user.has_perm(EDIT_RECORDS),
    }
    return render(request, "finance/customer_detail.html", context)


@require_safe
@records_visible
def transaction_detail(request: HttpRequest, pk: str) -> HttpResponse:
    bucket = visible_or_404(request, Transaction, pk)
    found = trades_of(bucket)
    table = TradeTable(found.trades, exclude=("account_id",))
    table.paginator = Paginator(table.rows, size_of_page(request.GET.get("per_page", "")))
    table.page = table.paginator.get_page(request.GET.get("page"))
    context = {
        "bucket": bucket,
        "unreadable": facts(bucket),
        "unread": found.unread,
        "trades": table,
        "editable": request.user.has_perm(EDIT_RECORDS),
    }
    return render(request, "finance/transaction_detail.html", context)


def _list(request: HttpRequest, listing: Listing) -> HttpResponse:
    filterset, records = listing.select(request)
    order = order_of(listing.table, request.GET.get("sort", ""))
    page = page_of(
        records, order, after=request.GET.get("after", ""), before=request.GET.get("before", ""),
        size=size_of_page(request.GET.get("per_page", "")),
    )  # fmt: skip
    context = {
        "note": note(page.records),
        "table": listing.table(InOrder(page.records), order_by=(order.name,)),
        "page": page,
        "filter": filterset,
        "searched": any(request.GET.get(name) for name in filterset.filters),
        "model": listing.model._meta,
        "editable": request.user.has_perm(EDIT_RECORDS),
        "links": {kind: f"finance:{listing.model._meta.model_name}_{kind}" for kind in ("list", "export", "create")},
    }
    return render(request, "finance/record_list.html", context)


def _export(request: HttpRequest, listing: Listing) -> HttpResponseBase:
    """Exactly the rows that the list has with these filters, in its order; all of them, or a reason why not."""
    filterset, records = listing.select(request)
    if problem := why_not(records, is_valid=filterset.is_valid()):
        return refused(request, problem, reverse(f"finance:{listing.model._meta.model_name}_list"))
    order = order_of(listing.table, request.GET.get("sort", ""))
    rows = exported(all_of(records, order), listing.row)
    return csv_response(str(listing.model.mirror.collection), listing.columns, rows)


def _part(table_class: type[Table], records: Any) -> Table:
    """A table that is part of another page: short, and in the order in which it is given."""
    return table_class(list(records), order_by=(), orderable=False)
