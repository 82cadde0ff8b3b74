"""How large a record's values may be, so that every later step can hold them.

What each document can hold at all is said in sync.limits; this is about what is computed with.

| what | limit | because of |
|---|---|---|
| account numbers, limits | int32 | MySQL's INTEGER, BSON's int32 |
| pieces of a trade | int64 | BSON; sums of them are Python's on a customer's pages, and MongoDB's beyond |
| price, total: magnitude | below 1E+60 | sums are Decimal128 in MongoDB (up to 9.99E+6144) and decimal in Python (1E+999999): \
pieces times price, added up over any number of trades, stays far below both, and a float draws it |
| price, total: exponent | from -100 to 60 | written out in full in CSV and tables |
| price, total: digits | 160 | so that magnitude and exponent meet; the data has up to 50 |
| dates in trades | years 1 to 9999 | Python's datetime, which sorts and draws them; BSON's are wider |
"""

from decimal import Decimal

LARGEST_NUMBER = Decimal("1E+60")
EXPONENTS = range(-100, 61)
MOST_DIGITS = 160


def is_amount(number: Decimal) -> bool:
    """Whether pages can compute with this price or total, and show it."""
    if not number.is_finite():
        return False
    _sign, digits, exponent = number.as_tuple()
    return exponent in EXPONENTS and len(digits) <= MOST_DIGITS and abs(number) < LARGEST_NUMBER
