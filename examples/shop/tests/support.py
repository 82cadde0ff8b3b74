"""The shop's tables and collections, read without the engine: by a cursor, and by the tests' own MongoDB client."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128
from django.core.management import call_command
from django.db import connection
from pymongo.database import Database

from sync.testing import deliver_all

CENT = Decimal("0.01")


def load(count: int = 20) -> None:
    """The demo data, delivered."""
    call_command("load_shop", "--count", str(count), "--force", verbosity=0)
    deliver_all()


def sql(statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [tuple(row) for row in cursor.fetchall()]


def moment(value: Any) -> datetime.datetime:
    """A date of a column or a document, in UTC. SQLite's driver returns some as text."""
    found = datetime.datetime.fromisoformat(str(value))
    found = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def money(value: Any) -> Decimal:
    """An amount of a column or a document. SQLite's driver returns numbers with a binary fraction."""
    number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(str(value))
    return number.quantize(CENT)


def order_documents() -> dict[int, dict[str, Any]]:
    """The documents that the tables call for."""
    lines: dict[int, list[dict[str, Any]]] = {}
    for order, quantity, price, product, name in sql(
        "SELECT order_id, quantity, shop_line.price, product_id, name FROM shop_line"
        " JOIN shop_product ON shop_product.id = product_id ORDER BY shop_line.id"
    ):
        line = {"quantity": quantity, "price": money(price), "product_id": product, "product": {"name": name}}
        lines.setdefault(order, []).append(line)
    return {
        key: {
            "_id": key, "buyer_id": buyer, "placed_at": moment(placed_at), "status": status, "ship_to": ship_to,
            "buyer": {"name": name}, "lines": lines.get(key, []),
        }
        for key, buyer, placed_at, status, ship_to, name in sql(
            "SELECT shop_order.id, buyer_id, placed_at, status, ship_to, name FROM shop_order"
            " JOIN shop_buyer ON shop_buyer.id = buyer_id"
        )
    }  # fmt: skip


def product_documents() -> dict[int, dict[str, Any]]:
    tags: dict[int, list[tuple[int, str]]] = {}
    for product, tag, name in sql(
        "SELECT product_id, tag_id, name FROM shop_product_tags JOIN shop_tag ON shop_tag.id = tag_id ORDER BY name"
    ):
        tags.setdefault(product, []).append((tag, name))
    return {
        key: {
            "_id": key, "name": name, "price": money(price), "category_id": category_id, "category": {"name": category},
            "tags": [{"name": tag} for _, tag in tags.get(key, [])],
            "tag_ids": sorted(tag for tag, _ in tags.get(key, [])),
        }
        for key, name, price, category_id, category in sql(
            "SELECT shop_product.id, shop_product.name, price, category_id, shop_category.name FROM shop_product"
            " JOIN shop_category ON shop_category.id = category_id"
        )
    }  # fmt: skip


def stored(mongo: Database, collection: str) -> dict[int, dict[str, Any]]:
    """The documents of a collection, without what the mirror keeps for itself."""
    return {document["_id"]: plain(document) for document in mongo[collection].find()}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name != "_sync"}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return money(value) if isinstance(value, Decimal128) else value


def assert_in_sync(mongo: Database) -> None:
    assert stored(mongo, "orders") == order_documents()
    assert stored(mongo, "products") == product_documents()
