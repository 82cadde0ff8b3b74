"""Senior management's report on a range of months, computed from the cached totals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from finance.periods import YEAR, Month, Range

LONGEST = 100 * YEAR  # months in a report without a range
SIDES = ("buy", "sell")


@dataclass
class Sums:
    """What was traded. value: in the data's currency, without `unvalued` trades, whose value is not a number."""

    trades: int = 0
    pieces: int = 0
    value: Decimal = Decimal()
    unvalued: int = 0
    buy: Decimal = Decimal()
    sell: Decimal = Decimal()

    def add(self, cell: list[Any], side: str | None = None) -> None:
        trades, pieces, value, unvalued = cell
        self.trades += trades
        self.pieces += pieces
        self.value += (amount := Decimal(value))
        self.unvalued += unvalued
        if side in SIDES:
            setattr(self, side, getattr(self, side) + amount)

    @property
    def balance(self) -> Decimal:
        """Bought minus sold."""
        return self.buy - self.sell


@dataclass
class Report:
    """What was traded in a range. The dicts are keyed by label or name; those by name have the largest value first."""

    asked: Range
    total: Sums = field(default_factory=Sums)
    before: Sums | None = None
    periods: dict[str, Sums] = field(default_factory=dict)
    symbols: dict[str, Sums] = field(default_factory=dict)
    products: dict[str, Sums] = field(default_factory=dict)
    tiers: dict[str, Sums] = field(default_factory=dict)


def months_of(data: dict[str, Any]) -> Range | None:
    """From the first month with a trade to the last; None if there is none."""
    months = [Month.parse(month) for month in {cell[0] for cell in data["symbols"]} if month]
    if not months:
        return None
    last = max(months)
    return Range(max(min(months), last + (1 - LONGEST)), last)


def undated(data: dict[str, Any]) -> int:
    """How many trades belong to no month because they have no date."""
    return sum(cell[3] for cell in data["symbols"] if cell[0] is None)


def unread(data: dict[str, Any]) -> int:
    """How many records could not be read in full; 0 if totals of an earlier version do not tell."""
    return sum(found["count"] for found in data.get("unread", {}).values())


def report(data: dict[str, Any], asked: Range) -> Report:
    """The report on `asked`. Its `before` is None if the data does not go back that far."""
    made = Report(asked, periods={label: Sums() for label in asked.labels})
    known = months_of(data)
    earlier = asked.before
    if earlier and known and earlier.last >= known.first:
        made.before = Sums()
    for month_text, name, side, *cell in data["symbols"]:
        month = Month.parse(month_text) if month_text else None
        if month is None:
            continue
        if month in asked:
            made.total.add(cell, side)
            made.periods[asked.label(month)].add(cell, side)
            made.symbols.setdefault(name or "", Sums()).add(cell, side)
        elif made.before is not None and earlier and month in earlier:
            made.before.add(cell, side)
    made.symbols = _largest_first(made.symbols)
    made.products = _by_name(data["products"], asked)
    made.tiers = _by_name(data["tiers"], asked)
    return made


def change(now: Decimal | int, before: Decimal | int) -> float:
    """By how many percent `now` exceeds `before`, which is above zero."""
    return float((now - before) / before * 100)


def _by_name(cells: Iterable[list[Any]], asked: Range) -> dict[str, Sums]:
    sums: dict[str, Sums] = {}
    for month_text, name, *cell in cells:
        if month_text and Month.parse(month_text) in asked:
            sums.setdefault(name or "", Sums()).add(cell)
    return _largest_first(sums)


def _largest_first(sums: dict[str, Sums]) -> dict[str, Sums]:
    return dict(sorted(sums.items(), key=lambda item: (-item[1].value, item[0])))
