"""The queries in docs/explanation/shop.md, and what they return from both databases as rows that can be compared."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any

from bson import Decimal128
from pymongo.database import Database

from examples.shop.tests.support import moment, money, sql
from tests.servers import ROOT

PAGE = (ROOT / "docs" / "explanation" / "shop.md").read_text()
QUESTION = re.compile(r"^### (.+?)\n\n```sql\n(.+?)```\n\n```js\n(.+?)```", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"\.(\w+)\((.*?)\)(?=\.\w+\(|$)", re.DOTALL)
KEY = re.compile(r"([{,]\s*)([$\w]+):")

# By the heading: the SQL statement and the MongoDB query.
QUESTIONS = {heading: (statement, query) for heading, statement, query in QUESTION.findall(PAGE)}
INDEXES = re.findall(r"^(db\.\w+\.createIndex.+)$", PAGE, re.MULTILINE)


def rows_of_sql(statement: str) -> list[tuple[Any, ...]]:
    return [tuple(map(_comparable, row)) for row in sql(statement.replace("%", "%%"))]


def rows_of_mongodb(query: str, mongo: Database) -> list[tuple[Any, ...]]:
    """One row for each document; one for each element of an array in it, as a join has."""
    return [row for document in run(query, mongo) for row in _rows(document)]


def run(query: str, mongo: Database) -> Any:
    """What a query as typed into mongosh returns: `db.orders.find({status: "placed"}).limit(1)`."""
    collection, calls = re.fullmatch(r"db\.(\w+)(\..+)", query.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
    found: Any = mongo[collection]
    for name, text in CALL.findall(calls):
        arguments = json.loads("[" + KEY.sub(r'\1"\2":', text) + "]")
        if name in ("sort", "createIndex"):
            arguments = [list(arguments[0].items())]
        found = getattr(found, {"createIndex": "create_index"}.get(name, name))(*arguments)
    return found


def _rows(value: Any) -> Iterator[tuple[Any, ...]]:
    """The values inside a document, in the order of its fields, once for each element of its array."""
    if isinstance(value, list):
        for each in value:
            yield from _rows(each)
    elif isinstance(value, dict):
        for parts in product(*(list(_rows(each)) for each in value.values())):
            yield tuple(cell for part in parts for cell in part)
    else:
        yield (_comparable(value),)


def _comparable(value: Any) -> Any:
    if isinstance(value, datetime.datetime) or (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d ", value)):
        return moment(value)
    return money(value) if isinstance(value, (Decimal, Decimal128, float)) else value
