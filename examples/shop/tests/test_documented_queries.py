"""The page about the shop: each question has the same answer in SQL and in MongoDB, and its documents are real ones."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from bson import Decimal128
from pymongo.database import Database

from examples.shop.tests.documented import INDEXES, PAGE, QUESTIONS, rows_of_mongodb, rows_of_sql, run
from examples.shop.tests.support import load

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

LEAST = {"One order with its lines": 2}  # rows of an answer; of the others, 4


@pytest.fixture
def shop(mongo: Database) -> Database:
    load(300)
    return mongo


def test_both_databases_give_the_same_answers(shop: Database) -> None:
    assert len(QUESTIONS) == PAGE.count("```sql") == 6
    for heading, (statement, query) in QUESTIONS.items():
        rows = rows_of_sql(statement)
        assert rows_of_mongodb(query, shop) == rows, heading
        assert len(rows) >= LEAST.get(heading, 4), f"{heading}: the demo data shows too little"


def test_the_indexes_of_the_page_are_used(shop: Database) -> None:
    assert len(INDEXES) == 4
    for line in INDEXES:
        run(line, shop)
    searches = [query for _, query in QUESTIONS.values() if ".find(" in query and "{_id:" not in query.split(",")[0]]
    assert len(searches) == 3
    for query in searches:
        assert "IXSCAN" in str(run(query, shop).explain()["queryPlanner"]["winningPlan"]), query


def test_the_documents_of_the_page_are_those_of_the_demo_data(shop: Database) -> None:
    shown = re.findall(r"^// db\.(\w+)\.findOne\({_id: (\d+)}\)\n({.+?^})", PAGE, re.MULTILINE | re.DOTALL)
    assert [collection for collection, _, _ in shown] == ["orders", "products"]
    for collection, key, text in shown:
        document = shop[collection].find_one({"_id": int(key)}, {"_sync": 0})
        assert "".join(text.split()) == "".join(in_mongosh(document).split())


def in_mongosh(value: Any) -> str:
    """As mongosh shows it, but for spaces and line breaks."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{in_mongosh(each)}' for name, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(in_mongosh, value))}]"
    if isinstance(value, Decimal128):
        return f'Decimal128("{value}")'
    if isinstance(value, datetime.datetime):
        return f'ISODate("{value:%Y-%m-%dT%H:%M:%SZ}")'
    return f'"{value}"' if isinstance(value, str) else str(value)
