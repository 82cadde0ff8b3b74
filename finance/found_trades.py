"""The trades behind a number of senior management's dashboard, read from MongoDB like the number itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pymongo
from bson import Decimal128
from django.utils.translation import gettext as _

from finance import aggregations
from finance.narrowing import Narrowing
from finance.periods import Range
from finance.report import SIDES
from finance.trades import Totals, Trade, trade_of

SECONDS = 20.0  # for one page; a search that takes longer is too wide
AT_ONCE = 2  # searches of a process: the other threads stay free for other pages
PATIENCE = 2.0  # seconds that a search waits for its turn
MOST_PAGES = 100  # that can be opened; MongoDB sorts all rows before a page
# By name, the values to sort by, all in one direction. The last two put each trade in one place.
ORDERS = {
    "date": ("transactions.date", "_id", "place"),
    "total": ("value", "transactions.date", "_id", "place"),
}


_turns = threading.BoundedSemaphore(AT_ONCE)


class Busy(Exception):
    """Others are searching. The message says so, for the user."""


class Found(NamedTuple):
    """One page of trades, and the totals of all that the search finds."""

    trades: list[Trade]
    totals: Totals


@dataclass(frozen=True)
class Search:
    """Which trades. side: "buy", "sell", or empty for both. order: a key of ORDERS, descending with a leading "-"."""

    asked: Range
    only: Narrowing
    side: str = ""
    order: str = "-date"

    def page(self, number: int, size: int) -> Found:
        """The page with this number, from 1. Raises PyMongoError and Busy."""
        sums = {"trades": {"$sum": 1}} | {
            side: {"$sum": {"$cond": [{"$eq": ["$transactions.transaction_code", side]}, "$value", Decimal128("0")]}}
            for side in SIDES
        }
        facets = {
            "totals": [{"$group": {"_id": None, **sums}}],
            "trades": [{"$sort": self._sort}, {"$skip": (number - 1) * size}, {"$limit": size}],
        }
        if not _turns.acquire(timeout=PATIENCE):
            raise Busy(_("Other searches are running"))
        try:
            with pymongo.timeout(SECONDS):
                [found] = self._aggregate([*self._matching(), {"$facet": facets}])
        finally:
            _turns.release()
        totals = found["totals"][0] if found["totals"] else {"trades": 0} | dict.fromkeys(SIDES, 0)
        return Found([*map(_trade, found["trades"])], Totals(totals["trades"], *(_decimal(totals[s]) for s in SIDES)))

    def all(self) -> Iterator[Trade]:
        """Every trade in order, read while the caller consumes them. Raises PyMongoError, at once or later."""
        with pymongo.timeout(aggregations.LONGEST):  # MongoDB sorts all of them before it sends the first
            cursor = self._aggregate([*self._matching(), {"$sort": self._sort}])
        return map(_trade, cursor)

    @property
    def _sort(self) -> dict[str, int]:
        direction = -1 if self.order.startswith("-") else 1
        return dict.fromkeys(ORDERS[self.order.removeprefix("-")], direction)

    def _matching(self) -> list[dict[str, Any]]:
        """The stages that lead to the trades, one by one, each with its place in its bucket and its value."""
        start, end = self.asked.first.start, (self.asked.last + 1).start
        unwind, *others = aggregations.TRADES
        side = [{"$match": {"transactions.transaction_code": self.side}}] if self.side else []
        return [
            *aggregations.narrowed(self.only),
            aggregations.during(start, end),
            {"$unwind": {"path": unwind["$unwind"], "includeArrayIndex": "place"}},
            *others,
            *side,
            {"$set": {"value": aggregations.VALUE}},
        ]

    def _aggregate(self, pipeline: list[dict[str, Any]]) -> Any:
        return aggregations.buckets().aggregate(pipeline, allowDiskUse=True)


def _trade(found: dict[str, Any]) -> Trade:
    return trade_of(found["account_id"], found["transactions"])


def _decimal(value: Any) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
