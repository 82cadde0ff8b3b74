"""The trades of a bucket as rows of a form."""

from __future__ import annotations

import datetime
import re
from decimal import Context, Decimal
from typing import Any

from bson import Decimal128, Int64
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from finance.limits import MOST_DIGITS, is_amount
from finance.rows import CellErrors, Row, RowsField
from sync.core.humanize import grouped

SIDES = ("buy", "sell")
EXACT = Context(prec=2 * MOST_DIGITS)
DATES = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
INT64 = range(-(2**63), 2**63)


class TradesField(RowsField):
    template = "finance/trade_rows.html"
    cells = ("date", "symbol", "side", "quantity", "price", "total")

    def items(self, value: Any) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise TypeError
        return value

    def value(self, items: list[Any]) -> Any:
        return items

    def describe(self, value: Any) -> str:
        count = len(value) if isinstance(value, list) else 0
        return f"{grouped(count)} {ngettext('trade', 'trades', count)}"

    def texts(self, item: dict[str, Any]) -> Row:
        return {
            "date": _moment(item.get("date")),
            "symbol": _text(item.get("symbol")),
            "side": _text(item.get("transaction_code")),
            "quantity": _whole(item.get("amount")),
            "price": _amount(item.get("price")),
            "total": _amount(item.get("total")),
        }

    def edit(self, item: dict[str, Any] | None, row: Row, edited: set[str]) -> dict[str, Any]:
        """The total follows quantity and price: what is sent as the total is for reading."""
        errors: dict[str, str] = {}
        new: dict[str, Any] = {}
        for cell, (name, read, problem) in self._columns().items():
            if item is None or cell in edited:
                try:
                    new[name] = read(row[cell], (item or {}).get(name))
                except (ValueError, ArithmeticError):
                    errors[cell] = problem
        if errors:
            raise CellErrors(errors)
        trade = (item or {}) | new
        amount, price = trade.get("amount"), trade.get("price")
        if {"amount", "price"} & set(new) and amount is not None and price is not None:
            total = EXACT.multiply(Decimal(amount), _decimal(price))
            try:
                if not is_amount(total):
                    raise ValueError
                trade["total"] = _like(trade.get("total"), f"{total:f}")
            except (ValueError, ArithmeticError) as error:  # Decimal128 has 34 digits
                raise CellErrors({"price": _("The total is too large or has too many digits.")}) from error
        return trade

    def _columns(self) -> dict[str, tuple[str, Any, str]]:
        """For each cell, the name in the document, what reads the text, and the message if it cannot be read."""
        return {
            "date": ("date", _read_moment, _("Enter a date and time.")),
            "quantity": ("amount", _read_whole, _("Enter a whole number above zero.")),
            "side": ("transaction_code", _read_side, _("Choose buy or sell.")),
            "symbol": ("symbol", _read_symbol, _("Enter a symbol of at most 20 characters.")),
            "price": ("price", _read_price, _("Enter a price such as 10.50.")),
        }


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or value != value.strip() or not value.isprintable():
        raise TypeError
    return value


def _whole(value: Any) -> str:
    if value is None:
        return ""
    if type(value) not in (int, Int64):
        raise TypeError
    return str(value)


def _amount(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, (str, Decimal128)) or not is_amount(_decimal(value)):
        raise TypeError
    return _text(str(value))


def _moment(value: Any) -> str:
    """As a browser writes it: without seconds that are zero."""
    if value is None:
        return ""
    if not isinstance(value, datetime.datetime) or value.year < 1000:
        raise TypeError
    in_utc = value.astimezone(datetime.UTC)
    return f"{in_utc:%Y-%m-%dT%H:%M:%S}" if in_utc.second else f"{in_utc:%Y-%m-%dT%H:%M}"


def _decimal(value: Any) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)


def _like(former: Any, text: str) -> Any:
    """A number in the type of the one that it replaces; text where there was none, as in the data."""
    return Decimal128(text) if isinstance(former, Decimal128) else text


def _read_moment(text: str, former: Any) -> datetime.datetime:
    for form in DATES:
        try:
            moment = datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC)
        except ValueError:
            continue
        if moment.year >= 1000:
            return moment
    raise ValueError


def _read_whole(text: str, former: Any) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) not in INT64 or not int(text):
        raise ValueError
    return type(former)(text) if type(former) is Int64 else int(text)


def _read_side(text: str, former: Any) -> str:
    if text not in SIDES:
        raise ValueError
    return text


def _read_symbol(text: str, former: Any) -> str:
    if not text or len(text) > 20 or not text.isprintable():
        raise ValueError
    return text.lower()  # as in the data, where totals are by symbol


def _read_price(text: str, former: Any) -> Any:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or not is_amount(Decimal(text)):
        raise ValueError
    return _like(former, text)
