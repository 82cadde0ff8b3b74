"""Trades from transaction buckets, prepared for display."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple

from bson import Decimal128

from finance.limits import is_amount
from finance.models import Transaction
from finance.report import SIDES

MOST_BUCKETS = 100  # of one customer's that a page adds up: some 10,000 trades


@dataclass(frozen=True)
class Trade:
    """One trade. A value that is missing or that no page can show is None; `unread` names the latter."""

    account_id: int
    date: datetime.datetime | None
    symbol: str | None
    code: str | None
    amount: int | None
    price: Decimal | None
    total: Decimal | None
    unread: tuple[str, ...] = ()

    COLUMNS: ClassVar = ("date", "account_id", "symbol", "transaction_code", "amount", "price", "total")

    @property
    def row(self) -> list[Any]:
        """Its values in a CSV with COLUMNS."""
        return [self.date, self.account_id, self.symbol, self.code, self.amount, self.price, self.total]


class Totals(NamedTuple):
    """How many trades, and the value bought and sold. A trade whose value is unknown adds nothing to it."""

    trades: int
    bought: Decimal
    sold: Decimal


class Trades(NamedTuple):
    """trades: newest first. complete: whether these are all of them. unread: records and trades that are missing here,
    or incomplete, because they cannot be read.
    """

    trades: list[Trade]
    complete: bool
    unread: int


def trades_of(*buckets: Transaction) -> Trades:
    """The trades of these buckets; those without a date last."""
    listed = [(bucket.account_id, bucket.transactions) for bucket in buckets if isinstance(bucket.transactions, list)]
    items = [(account_id, item) for account_id, items in listed for item in items]
    trades = [trade_of(account_id, item) for account_id, item in items if isinstance(item, dict)]
    left_out = len(buckets) - len(listed) + len(items) - len(trades)
    unread = left_out + sum(bool(trade.unread) for trade in trades)
    return Trades(sorted(trades, key=_date, reverse=True), not left_out, unread)


def newest_trades(account_numbers: Collection[int]) -> Trades:
    """The trades of these accounts from their newest MOST_BUCKETS buckets."""
    buckets: Any = Transaction.objects.filter(account_id__in=account_numbers).only("account_id", "transactions")
    newest = list(buckets.order_by("-bucket_end_date", "-pk")[: MOST_BUCKETS + 1])
    found = trades_of(*newest[:MOST_BUCKETS])
    return found._replace(complete=found.complete and len(newest) <= MOST_BUCKETS)


def in_order(trades: Iterable[Trade], order: str) -> list[Trade]:
    """Sorted by an attribute, descending with a leading "-". Equal ones stay in their order, unknown ones come last."""
    name = order.removeprefix("-")
    known = [trade for trade in trades if getattr(trade, name) is not None]
    unknown = [trade for trade in trades if getattr(trade, name) is None]
    return sorted(known, key=attrgetter(name), reverse=order.startswith("-")) + unknown


def totals_of(trades: Collection[Trade]) -> Totals:
    valued = [(trade.code, trade.total) for trade in trades if trade.total is not None]
    bought, sold = (sum((total for code, total in valued if code == side), Decimal()) for side in SIDES)
    return Totals(len(trades), bought, sold)


def _date(trade: Trade) -> datetime.datetime:
    return trade.date or datetime.datetime.min.replace(tzinfo=datetime.UTC)


def trade_of(account_id: int, item: dict[str, Any]) -> Trade:
    """One element of a bucket, from either database."""
    read: dict[str, Any] = {
        "date": _of(datetime.datetime, item.get("date")),
        "symbol": _of(str, item.get("symbol")),
        "transaction_code": _of(str, item.get("transaction_code")),
        "amount": _of(int, item.get("amount")),
        "price": _number(item.get("price")),
        "total": _number(item.get("total")),
    }
    unread = tuple(name for name, value in read.items() if value is None and item.get(name) is not None)
    return Trade(account_id, code=read.pop("transaction_code"), **read, unread=unread)


def _of(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _number(value: Any) -> Decimal | None:
    try:
        number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if is_amount(number) else None
