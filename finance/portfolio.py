"""What one customer holds and has traded, computed from their own trades."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from finance.charts import Chart, Series
from finance.models import Customer
from finance.periods import Month, Range
from finance.report import LONGEST, SIDES
from finance.trades import Trade


@dataclass
class Holding:
    """One symbol. pieces: bought minus sold. price: the last price the customer traded it at, if known."""

    symbol: str
    bought: int = 0
    sold: int = 0
    price: Decimal | None = None

    @property
    def pieces(self) -> int:
        return self.bought - self.sold

    @property
    def worth(self) -> Decimal | None:
        return None if self.price is None else self.pieces * self.price


def holdings(trades: Iterable[Trade]) -> list[Holding]:
    """The holding of each symbol, the one worth most first. trades: newest first."""
    found: dict[str, Holding] = {}
    for trade in trades:
        if trade.symbol is None:
            continue
        holding = found.setdefault(trade.symbol, Holding(trade.symbol))
        if holding.price is None:
            holding.price = trade.price
        if trade.code == "buy":
            holding.bought += trade.amount or 0
        elif trade.code == "sell":
            holding.sold += trade.amount or 0
    return sorted(found.values(), key=lambda holding: (-(holding.worth or 0), holding.symbol))


def value_chart(trades: list[Trade]) -> Chart:
    """The value bought and sold over time, from the first trade to the last."""
    sums: dict[str, list[Decimal]] = {}
    months = [Month.of(trade.date) for trade in trades if trade.date]
    if months:
        asked = Range(max(min(months), max(months) + (1 - LONGEST)), max(months))
        sums = {label: [Decimal(), Decimal()] for label in asked.labels}
        for trade in trades:
            if trade.date and Month.of(trade.date) in asked and trade.total is not None and trade.code in SIDES:
                sums[asked.label(Month.of(trade.date))][SIDES.index(trade.code)] += trade.total
    return Chart(
        key="value",
        title=_("Value traded"),
        columns=(_("When"), _("Bought"), _("Sold")),
        rows=[(label, bought, sold) for label, (bought, sold) in sums.items()],
        series=(Series(_("Bought"), 1), Series(_("Sold"), 2)),
        empty=_("Your purchases and sales over time will appear here after the first trade."),
    )


def holdings_chart(trades: list[Trade], complete: bool) -> Chart:
    """Holdings by symbol. Without all trades the holdings are unknown, so none are shown."""
    rows = []
    if complete:
        rows = [(holding.symbol.upper(), holding.worth, holding.pieces, holding.price) for holding in holdings(trades)]
    unknown = _("You have more trades than this page can add up, so your holdings are not shown.")
    return Chart(
        key="holdings",
        title=_("Holdings by symbol"),
        columns=(_("Symbol"), _("Worth"), _("Pieces"), _("Last price")),
        rows=rows,
        series=(Series(_("Worth"), 1),),
        shape="names",
        empty=_("You have no holdings yet. What you buy will be listed here.") if complete else unknown,
        note=_("What you bought minus what you sold, valued at the price of your last trade.") if rows else "",
    )


def csv_of(customer: Customer, chart: Chart) -> str:
    """The URL of a chart's CSV; empty for a record whose key is not an ObjectId, which has no page of its own."""
    try:
        return reverse("finance:customer_chart", args=[customer.pk, chart.key])
    except NoReverseMatch:
        return ""
