"""How large a record's values may be, so that every later step can hold them.

sync.mapping.limits lists what a document can hold at all. These limits are about what pages compute with.

- Account numbers and limits: int32, as MySQL's INTEGER and BSON's int32.
- Pieces of a trade: int64, as BSON.
- Price and total: below 1E+60. MongoDB adds them up as Decimal128 (up to 9.99E+6144), Python as decimals (1E+999999),
  and a chart draws them as floats (1.8E+308). Pieces times price, over any number of trades, stays far below these.
- Price and total: an exponent from -100 to 60 and at most 160 digits, so that CSV and tables can write them out. The
  data has up to 50 digits.
- Dates in trades: the years 1 to 9999 of Python's datetime, which sorts and draws them. BSON's dates are wider.
"""

from decimal import Decimal

LARGEST_NUMBER = Decimal("1E+60")
EXPONENTS = range(-100, 61)
MOST_DIGITS = 160


def is_amount(number: Decimal) -> bool:
    """Whether pages can compute with this price or total and show it."""
    if not number.is_finite():
        return False
    _sign, digits, exponent = number.as_tuple()
    return exponent in EXPONENTS and len(digits) <= MOST_DIGITS and abs(number) < LARGEST_NUMBER
