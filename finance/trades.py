"""Trades out of transaction buckets, ready to be shown."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bson import Decimal128

from finance.models import Transaction

MOST_BUCKETS = 100  # of one customer's, that a page adds up: some 10,000 trades


@dataclass(frozen=True)
class Trade:
    """One trade. What the data does not have, or has in a form that no page can show, is None."""

    account_id: int
    date: datetime.datetime | None
    symbol: str | None
    code: str | None
    amount: int | None
    price: Decimal | None
    total: Decimal | None


def trades_of(bucket: Transaction) -> list[Trade]:
    """A bucket's trades, newest first; those without a date last."""
    trades = [_trade(bucket.account_id, item) for item in bucket.transactions if isinstance(item, dict)]
    return sorted(trades, key=_date, reverse=True)


def newest_trades(account_numbers: Collection[int]) -> tuple[list[Trade], bool]:
    """The trades of these accounts, newest first, and whether they are all there are: of MOST_BUCKETS at most."""
    buckets: Any = Transaction.objects.filter(account_id__in=account_numbers).only("account_id", "transactions")
    newest = list(buckets.order_by("-bucket_end_date", "-pk")[: MOST_BUCKETS + 1])
    trades = [trade for bucket in newest[:MOST_BUCKETS] for trade in trades_of(bucket)]
    return sorted(trades, key=_date, reverse=True), len(newest) <= MOST_BUCKETS


def _date(trade: Trade) -> datetime.datetime:
    return trade.date or datetime.datetime.min.replace(tzinfo=datetime.UTC)


def _trade(account_id: int, item: dict[str, Any]) -> Trade:
    return Trade(
        account_id=account_id,
        date=_of(datetime.datetime, item.get("date")),
        symbol=_of(str, item.get("symbol")),
        code=_of(str, item.get("transaction_code")),
        amount=_of(int, item.get("amount")),
        price=_number(item.get("price")),
        total=_number(item.get("total")),
    )


def _of(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else None


def _number(value: Any) -> Decimal | None:
    try:
        number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if number.is_finite() else None
