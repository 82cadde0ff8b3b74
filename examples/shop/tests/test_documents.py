"""Orders and products in MongoDB follow every write of the shop's seven tables, also in the admin."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError
from django.db.models import ProtectedError
from pymongo.database import Database

from examples.shop.models import Buyer, Category, Line, Order, Product, Tag
from examples.shop.tests.support import assert_in_sync, load, sql, stored
from sync.testing import deliver_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def shop(mongo: Database) -> Database:
    load()
    assert_in_sync(mongo)
    return mongo


def names(shop: Database, collection: str, key: int) -> list[str]:
    """The names of an order's products, or of a product's tags."""
    document = shop[collection].find_one({"_id": key})
    assert document is not None
    if collection == "orders":
        return [line["product"]["name"] for line in document["lines"]]
    return [tag["name"] for tag in document["tags"]]


def written(shop: Database, collection: str, before: dict[int, dict[str, Any]]) -> set[int]:
    """The keys of the documents that differ from before."""
    after = stored(shop, collection)
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def keys(statement: str, *values: Any) -> set[int]:
    return {key for (key,) in sql(statement, *values)}


def test_the_demo_data_is_in_both_databases(shop: Database) -> None:
    assert len(stored(shop, "orders")) == 20
    assert len(stored(shop, "products")) == 17
    assert sql("SELECT COUNT(*) FROM shop_line")[0][0] > 40
    assert verified() == 0


def test_a_renamed_product_is_renamed_in_each_order_that_has_it(shop: Database) -> None:
    before = stored(shop, "orders")
    wanted = keys("SELECT order_id FROM shop_line WHERE product_id = 14")
    Product.objects.filter(pk=14).update(name="Reading lamp")
    deliver_all()
    assert written(shop, "orders", before) == wanted != set()
    assert all("Reading lamp" in names(shop, "orders", key) for key in wanted)
    assert_in_sync(shop)


def test_a_new_price_changes_no_order(shop: Database) -> None:
    before = stored(shop, "orders"), stored(shop, "products")
    version = shop["orders"].find_one({"_id": 15})["_sync"]["v"]
    product = Product.objects.get(pk=7)
    product.price = Decimal("150.00")
    product.save()
    deliver_all()
    assert written(shop, "orders", before[0]) == set()
    assert written(shop, "products", before[1]) == {7}
    assert shop["orders"].find_one({"_id": 15})["_sync"]["v"] > version, "delivered again, as the page says"
    assert_in_sync(shop)


def test_a_renamed_buyer_is_renamed_in_their_orders_alone(shop: Database) -> None:
    before = stored(shop, "orders")
    wanted = keys("SELECT id FROM shop_order WHERE buyer_id = 3")
    Buyer.objects.filter(pk=3).update(name="Chen Wei-Ling")
    deliver_all()
    assert written(shop, "orders", before) == wanted != set()
    assert_in_sync(shop)


@pytest.mark.parametrize(
    ("model", "statement"),
    [
        (Category, "SELECT id FROM shop_product WHERE category_id = 1"),
        (Tag, "SELECT product_id FROM shop_product_tags WHERE tag_id = 1"),
    ],
    ids=["category", "tag"],
)
def test_a_renamed_category_or_tag_is_renamed_in_its_products_alone(shop: Database, model: Any, statement: str) -> None:
    before = stored(shop, "orders"), stored(shop, "products")
    wanted = keys(statement)
    model.objects.filter(pk=1).update(name="Renamed")
    deliver_all()
    assert written(shop, "products", before[1]) == wanted != set()
    assert written(shop, "orders", before[0]) == set()
    assert "Renamed" in str(stored(shop, "products"))
    assert_in_sync(shop)


def test_a_deleted_line_leaves_its_order(shop: Database) -> None:
    before = stored(shop, "orders")
    line = Line.objects.filter(order=15)[0]
    line.delete()
    deliver_all()
    assert written(shop, "orders", before) == {15}
    assert len(stored(shop, "orders")[15]["lines"]) == len(before[15]["lines"]) - 1
    assert_in_sync(shop)


def test_an_order_is_deleted_with_its_lines(shop: Database) -> None:
    before = stored(shop, "orders")
    Order.objects.get(pk=15).delete()
    deliver_all()
    assert written(shop, "orders", before) == {15}
    assert sql("SELECT COUNT(*) FROM shop_line WHERE order_id = 15") == [(0,)]
    assert shop["orders"].find_one({"_id": 15}) is None
    assert_in_sync(shop)


def test_a_deleted_tag_disappears_from_its_products(shop: Database) -> None:
    before = stored(shop, "products")
    wanted = keys("SELECT product_id FROM shop_product_tags WHERE tag_id = 1")
    Tag.objects.get(pk=1).delete()
    deliver_all()
    assert written(shop, "products", before) == wanted != set()
    assert not any(1 in product["tag_ids"] for product in stored(shop, "products").values())
    assert_in_sync(shop)


def test_what_others_need_cannot_be_deleted(shop: Database) -> None:
    before = stored(shop, "orders"), stored(shop, "products")
    for model in (Product, Category, Buyer):
        with pytest.raises(ProtectedError):
            model.objects.get(pk=2).delete()
    deliver_all()
    assert (stored(shop, "orders"), stored(shop, "products")) == before
    assert_in_sync(shop)


def test_a_product_that_nobody_ordered_can_be_deleted(shop: Database) -> None:
    product = Product.objects.create(name="Sundial", price=Decimal("80.00"), category_id=3)
    product.tags.add(1)
    deliver_all()
    assert names(shop, "products", product.pk) == ["gift"]
    product.delete()
    deliver_all()
    assert shop["products"].find_one({"name": "Sundial"}) is None
    assert_in_sync(shop)


def test_the_database_refuses_a_wrong_line(shop: Database) -> None:
    line = Line.objects.filter(order=15, product=2)
    for wrong in ({"quantity": 0}, {"price": Decimal(-1)}, {"product_id": 7}):
        with pytest.raises(IntegrityError):
            line.update(**wrong)
    deliver_all()
    assert_in_sync(shop)


def verified() -> int:
    try:
        call_command("sync", "verify", "shop.order", "shop.product", stdout=io.StringIO())
    except SystemExit as end:
        return int(end.code or 0)
    return 0
