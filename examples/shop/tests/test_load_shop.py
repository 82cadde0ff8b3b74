"""`manage.py load_shop`: the same rows each time, into an empty shop only."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pymongo.database import Database

from examples.shop.models import Buyer, Category, Line, Order, Product, Tag
from examples.shop.tests.support import assert_in_sync, load, sql

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

TABLES = ("shop_category", "shop_tag", "shop_product", "shop_product_tags", "shop_buyer", "shop_order", "shop_line")


def tables() -> list[Any]:
    columns = {"shop_product_tags": "product_id, tag_id"}  # its own keys are the database's
    return [sorted(sql(f"SELECT {columns.get(table, '*')} FROM {table}"), key=str) for table in TABLES]


def test_the_same_seed_gives_the_same_rows(mongo: Database) -> None:
    load(30)
    first = tables()
    for model in (Order, Product, Category, Tag, Buyer):
        model.objects.all().delete()
    load(30)
    assert tables() == first
    assert [len(rows) for rows in first][:3] == [4, 4, 17]
    assert_in_sync(mongo)


@pytest.mark.parametrize("model", [Category, Tag, Buyer])
def test_a_shop_with_rows_stays_as_it_is(mongo: Database, model: Any) -> None:
    model.objects.create(name="Mine")
    before = tables()
    with pytest.raises(CommandError, match="The shop already has") as refused:
        call_command("load_shop", "--force")
    assert refused.value.returncode == 1
    assert tables() == before


def test_it_refuses_to_run_in_production(mongo: Database) -> None:
    with pytest.raises(CommandError, match="DEBUG is off"):
        call_command("load_shop")
    assert not Line.objects.exists()
