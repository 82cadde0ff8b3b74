"""Made-up data of the same shapes as the real data, and the same for the same seed.

Each record is drawn from a random generator seeded with the seed and the record's position, so adding customers or
trades does not change the records before them.
"""

from __future__ import annotations

import datetime
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from finance.models import Account, Customer, Transaction
from finance.products import PRODUCTS

if TYPE_CHECKING:
    from faker import Faker

TIERS = ("Bronze", "Silver", "Gold", "Platinum")
BENEFITS = (
    "24 hour dedicated line", "airline lounge access", "car rental insurance", "concert tickets", "concierge services",
    "dedicated account representative", "financial planning assistance", "shopping discounts", "sports tickets",
    "travel insurance",
)  # fmt: skip
SYMBOLS = (
    "adbe", "amd", "amzn", "aapl", "bb", "crm", "csco", "ebay", "fb", "goog",
    "ibm", "intc", "msft", "nflx", "nvda", "sap", "team", "tsla", "txn", "znga",
)  # fmt: skip
# Seven digits, so that no made-up customer has an account number of the public data set, which has six.
ACCOUNT_NUMBERS = range(1_000_000, 10_000_000)
TRADES_IN_BUCKET = 100
FIRST_DAY = datetime.date(2010, 1, 4)
MONEY = 80  # digits in computations: enough for the exact product of an amount and a price


@dataclass(frozen=True)
class Demo:
    """The made-up data of one seed.

    customers, trades: how many of each. Every customer has 1 to 6 accounts, and the trades are spread over them.
    until: the last day with trades.
    """

    fake: Faker
    customers: int
    trades: int
    seed: int
    until: datetime.date
    walks: dict[str, list[float]] = field(default_factory=dict)

    @cached_property
    def account_numbers(self) -> list[list[int]]:
        """Each customer's account numbers; no number occurs twice."""
        taken: set[int] = set()
        numbers = []
        for place in range(self.customers):
            draw = self._random("accounts", place)
            own: list[int] = []
            # The first customer has several, so that the demo customer's dashboard has something to show.
            for _ in range(4 if place == 0 else draw.randint(1, 6)):
                while (number := draw.choice(ACCOUNT_NUMBERS)) in taken:
                    pass
                taken.add(number)
                own.append(number)
            numbers.append(own)
        return numbers

    def customer_rows(self) -> Iterator[Customer]:
        for place, numbers in enumerate(self.account_numbers):
            draw = self._random("customer", place)
            self.fake.seed_instance(f"{self.seed}/{place}")
            first, last = self.fake.first_name(), self.fake.last_name()
            username = f"{first[0]}{last}{draw.randint(1, 99)}".lower().replace(" ", "").replace("'", "")
            tiers = [_tier(draw) for _ in range(draw.choice((0, 0, 1, 1, 2, 3)) if place else 2)]
            yield Customer(
                id=self._id("customer", place), username=username, name=f"{first} {last}",
                address=self.fake.address(), email=f"{username}@example.com", accounts=numbers,
                birthdate=datetime.datetime(1965, 1, 1, tzinfo=datetime.UTC)
                + datetime.timedelta(seconds=draw.randrange(35 * 365 * 86400)),
                tier_and_details={tier["id"]: tier for tier in tiers},
                active=True if draw.random() < 0.1 else None,
            )  # fmt: skip

    def account_rows(self) -> Iterator[Account]:
        for place, number in enumerate(number for numbers in self.account_numbers for number in numbers):
            draw = self._random("account", place)
            others = draw.sample(PRODUCTS[1:], draw.choice((0, 1, 1, 2, 2, 3, 3, 4)))
            products = ["InvestmentStock", *others]
            draw.shuffle(products)
            limit = 10000 if draw.random() < 0.9 else draw.choice((3000, 5000, 7000, 8000, 9000))
            yield Account(id=self._id("account", place), account_id=number, limit=limit, products=products)

    def transaction_rows(self) -> Iterator[Transaction]:
        """Buckets of up to 100 trades of one account, oldest first."""
        marked = False
        for number, count in self._trade_counts():
            draw = self._random("trades", number)
            trades = sorted((self._trade(draw) for _ in range(count)), key=lambda trade: trade["date"])
            if trades and not marked:
                trades[-1] = self._trade(draw, self.until)  # lets a later run find the last day of this one
                marked = True
            for start in range(0, count, TRADES_IN_BUCKET):
                bucket = trades[start : start + TRADES_IN_BUCKET]
                yield Transaction(
                    id=self._id("transaction", f"{number}/{start}"), account_id=number, transaction_count=len(bucket),
                    bucket_start_date=bucket[0]["date"], bucket_end_date=bucket[-1]["date"], transactions=bucket,
                )  # fmt: skip

    def _trade_counts(self) -> Iterator[tuple[int, int]]:
        """Each account number with the number of its trades: uneven, `trades` in total, at least one for the first
        account.
        """
        numbers = [number for numbers in self.account_numbers for number in numbers]
        totals = list(accumulate(self._random("share", number).randint(1, 100) for number in numbers))
        done = 0
        for number, total in zip(numbers, totals, strict=True):
            due = -(-self.trades * total // totals[-1])
            yield number, due - done
            done = due

    def _trade(self, draw: random.Random, day: datetime.date | None = None) -> dict[str, Any]:
        symbol = draw.choice(SYMBOLS)
        days = (self.until - FIRST_DAY).days
        # More of them lately, as in a growing business.
        back = 0 if day else int(days * draw.random() ** 2)
        date = datetime.datetime.combine(self.until, datetime.time(), datetime.UTC) - datetime.timedelta(days=back)
        amount = draw.randint(1, 10_000)
        # As in the real data: the exact value of a binary fraction, which has some 50 digits.
        price = Decimal(self._walk(symbol)[days - back] * draw.uniform(0.99, 1.01))
        with localcontext(prec=MONEY):
            total = price * amount
        return {
            "date": date, "amount": amount, "transaction_code": draw.choice(("buy", "sell")), "symbol": symbol,
            "price": f"{price:f}", "total": f"{total:f}",
        }  # fmt: skip

    def _walk(self, symbol: str) -> list[float]:
        """A price for each day since FIRST_DAY: a geometric random walk whose days do not depend on its length."""
        if symbol not in self.walks:
            draw = self._random("walk", symbol)
            price = draw.uniform(8, 60)
            prices = [price]
            for _ in range((self.until - FIRST_DAY).days):
                price *= 1 + draw.gauss(0.0003, 0.018)
                prices.append(price)
            self.walks[symbol] = prices
        return self.walks[symbol]

    def _random(self, kind: str, place: object) -> random.Random:
        return random.Random(f"{self.seed}/{kind}/{place}")  # noqa: S311 (made-up data, no secret)

    def _id(self, kind: str, place: object) -> str:
        return demo_id(self.seed, kind, place)


def demo_id(seed: int, kind: str, place: object) -> str:
    """The `_id` of a made-up record."""
    return hashlib.sha256(f"{seed}/{kind}/{place}".encode()).hexdigest()[:24]


def day_of_earlier_run(seed: int) -> datetime.date | None:
    """The last day with trades of this seed in the database; None if it was never loaded."""
    customer = Customer.objects.filter(pk=demo_id(seed, "customer", 0)).first()
    buckets = Transaction.objects.filter(account_id__in=customer.accounts[:1] if customer else [])
    newest = buckets.order_by("-bucket_end_date").first()
    return newest.bucket_end_date.date() if newest else None


def _tier(draw: random.Random) -> dict[str, Any]:
    return {
        "tier": draw.choice(TIERS),
        "id": f"{draw.getrandbits(128):032x}",
        "active": True,
        "benefits": draw.sample(BENEFITS, draw.randint(1, 3)),
    }
