"""The shapes of a record's embedded values. Further fields are allowed and kept."""

import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from bson import Decimal128, Int64
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from finance.limits import is_amount

INT32 = range(-(2**31), 2**31)


def array_of_names(value: Any) -> None:
    """An array of strings, such as an account's products."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValidationError(_("Enter an array of names."))


def array_of_account_numbers(value: Any) -> None:
    """An array of int32 numbers. Queries are built from them, so nothing else is allowed."""
    if not isinstance(value, list) or not all(type(item) is int and item in INT32 for item in value):
        raise ValidationError(_("Enter an array of account numbers (int32)."))


def tiers(value: Any) -> None:
    """An object that maps tier ids to objects with a `tier`, its `benefits` and whether it is `active`."""
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise ValidationError(_("Enter an object of tiers by id."))
    for key, item in value.items():
        if not isinstance(item.get("tier", ""), str):
            raise ValidationError(_("Tier %(key)s: the name must be text."), params={"key": key})
        array_of_names(item.get("benefits", []))


def trades(value: Any) -> None:
    """An array of objects with a date, amount, symbol, transaction_code, price and total; each is optional but must
    have its type.
    """
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValidationError(_("Enter an array of trades."))
    for number, trade in enumerate(value):
        for name, valid in TRADE.items():
            if name in trade and not valid(trade[name]):
                raise ValidationError(
                    _("Trade %(number)s: %(name)s has the wrong type."),
                    params={"number": number, "name": name},
                )
        for name in ("price", "total"):
            if name in trade and not is_amount(_number(trade[name])):
                raise ValidationError(
                    _("Trade %(number)s: %(name)s is too large or has too many digits."),
                    params={"number": number, "name": name},
                )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_date(value: Any) -> bool:
    return isinstance(value, datetime.datetime)


def _is_whole(value: Any) -> bool:
    return type(value) in (int, Int64)


def _is_number(value: Any) -> bool:
    """Text in the data, because it has up to 50 digits; Decimal128 would do for shorter ones."""
    try:
        return isinstance(value, Decimal128) or (isinstance(value, str) and _number(value).is_finite())
    except InvalidOperation:
        return False


def _number(value: Any) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)


TRADE = {
    "date": _is_date,
    "amount": _is_whole,
    "transaction_code": _is_text,
    "symbol": _is_text,
    "price": _is_number,
    "total": _is_number,
}
