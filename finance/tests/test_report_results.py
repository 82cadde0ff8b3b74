"""How reports process pipeline results. These tests use mongomock; others run the pipelines on a real MongoDB."""

from __future__ import annotations

from typing import Any

import mongomock
import pytest

from finance import aggregations
from finance.models import Customer

pytestmark = pytest.mark.quick


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The collection that every pipeline reads."""
    collection = mongomock.MongoClient()["analytics"]["rows"]
    collection.aggregate = lambda pipeline, **_options: mongomock.Collection.aggregate(collection, pipeline)
    monkeypatch.setattr(aggregations, "_collection", lambda model: collection)
    return collection


CELL = {"trades": 2, "pieces": 10, "value": 12.5, "unvalued": 0}


def test_a_cell_has_its_key_then_its_sums_with_the_value_as_text(rows: Any) -> None:
    rows.insert_one({"_id": {"month": "2016-01", "name": "adbe", "side": "buy"}, **CELL})
    assert aggregations._cells([{"$match": {}}], "month", "name", "side") == [
        ["2016-01", "adbe", "buy", 2, 10, "12.5", 0]
    ]


def test_a_trade_without_a_date_has_no_month(rows: Any) -> None:
    rows.insert_one({"_id": {"name": "adbe"}, **CELL})
    assert aggregations._cells([{"$match": {}}], "month", "name") == [[None, "adbe", 2, 10, "12.5", 0]]


def test_names_are_sorted_and_other_types_are_omitted(rows: Any) -> None:
    rows.insert_many([{"_id": "Gold", "customers": 1}, {"_id": 7, "customers": 2}, {"_id": "Bronze", "customers": 3}])
    found = aggregations._named(Customer, [{"$match": {}}])
    assert found == [{"name": "Bronze", "customers": 3}, {"name": "Gold", "customers": 1}]
