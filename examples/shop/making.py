"""Made-up rows of the shop. The same seed gives the same rows, with the same keys."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from decimal import Decimal

from examples.shop.models import Buyer, Category, Line, Order, Product, Tag

TAGS = ("gift", "new", "wood", "sale")
PRODUCTS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {  # by category: name, price, tags
    "Kitchen": (
        ("Bread board", "24.50", ("wood",)),
        ("Chef's knife", "79.00", ("gift",)),
        ("Espresso pot", "34.90", ("gift", "new")),
        ("Frying pan", "49.00", ()),
        ("Salt mill", "29.90", ("wood", "gift")),
    ),
    "Living": (
        ("Armchair", "389.00", ("wood",)),
        ("Bookshelf", "149.00", ("wood", "sale")),
        ("Floor lamp", "119.00", ("new",)),
        ("Wool blanket", "69.50", ("gift", "sale")),
    ),
    "Garden": (
        ("Bird house", "19.90", ("wood", "gift")),
        ("Deck chair", "59.00", ("wood", "sale")),
        ("Lantern", "14.95", ("gift", "new")),
        ("Watering can", "22.00", ()),
    ),
    "Office": (
        ("Desk lamp", "45.00", ("gift",)),
        ("Fountain pen", "32.00", ("gift", "new")),
        ("Notebook", "7.50", ()),
        ("Standing desk", "449.00", ("new",)),
    ),
}
BUYERS = (
    "Ada Abbott", "Ben Brandt", "Chen Wei", "Dina Dahl", "Emil Eriksen", "Farah Fauzi", "Greta Gold", "Hugo Haas",
    "Ines Ibarra", "Jonas Juhl", "Kavita Kumar", "Liam Lynch",
)  # fmt: skip
STREETS = ("Canal Street", "Hill Road", "Park Avenue", "Station Square")
FIRST_DAY = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
PAUSE = 12 * 60  # minutes between two orders, at most


def categories() -> list[Category]:
    return [Category(pk=number, name=name) for number, name in enumerate(PRODUCTS, 1)]


def tags() -> list[Tag]:
    return [Tag(pk=number, name=name) for number, name in enumerate(TAGS, 1)]


def products() -> list[Product]:
    rows = [(kind, name, price) for kind, of_it in enumerate(PRODUCTS.values(), 1) for name, price, _ in of_it]
    return [
        Product(pk=number, name=name, price=Decimal(price), category_id=kind)
        for number, (kind, name, price) in enumerate(rows, 1)
    ]


def links() -> Iterator[tuple[int, list[int]]]:
    """The key of each product, and those of its tags."""
    named = [names for of_it in PRODUCTS.values() for _name, _price, names in of_it]
    for number, names in enumerate(named, 1):
        yield number, [TAGS.index(name) + 1 for name in names]


def buyers() -> list[Buyer]:
    return [
        Buyer(pk=number, name=name, email=f"{name.split()[0].lower()}@example.com")
        for number, name in enumerate(BUYERS, 1)
    ]


def orders(count: int, seed: int) -> tuple[list[Order], list[Line]]:
    """`count` orders, each later than the one before, with one to five lines each. More of them start with the same."""
    chance = random.Random(seed)  # noqa: S311 (made-up data)
    goods, moment = products(), FIRST_DAY
    made: list[Order] = []
    lines: list[Line] = []
    for number in range(1, count + 1):
        moment += datetime.timedelta(minutes=chance.randint(1, PAUSE))
        order = Order(
            pk=number,
            buyer_id=chance.randint(1, len(BUYERS)),
            placed_at=moment,
            status=chance.choices(Order.Status.values, (2, 7, 1))[0],
            ship_to=f"{chance.randint(1, 99)} {chance.choice(STREETS)}",
        )
        made.append(order)
        for product in chance.sample(goods, chance.randint(1, 5)):
            lines.append(
                Line(
                    pk=len(lines) + 1,
                    order_id=order.pk,
                    product_id=product.pk,
                    quantity=chance.randint(1, 4),
                    price=product.price,
                )
            )
    return made, lines
