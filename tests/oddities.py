"""Odd rows: values that SQL can write, but that Django, Python or a page does not expect.

Each row has one odd column, so that no value hides another. Values that the database rejects are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError, connection, models, transaction

from audit.models import Entry
from examples.news.models import Story
from examples.retail.models import Sale
from finance.models import CachedReport
from finance.record_types import RECORD_TYPES
from finance.tests.damage import lax
from sync.mapping.fields import DocumentField

MOMENTS = ["0000-00-00 00:00:00", "2024-02-31 12:00:00", "2024-00-10 00:00:00", "9999-12-31 23:59:59.999999",
           "0001-01-01 00:00:00", "1000-01-01 00:00:00"]  # fmt: skip
FAR = {"$date": {"$numberLong": "9223372036854775807"}}
DOCUMENTS = [
    "[broken", "", "null", "1e400", "NaN", "5", "-0", "true", '"text"', '{"a": 1, "a": 2}', '{"$oid": "zz"}',
    "[" * 3000, *("[" * levels + "]" * levels for levels in (250, 251, 460)),
    *('{"a":' * levels + "1" + "}" * levels for levels in (250, 251, 340)),
    *map(json.dumps, [
        {}, [], {"a": 1}, {"a": None}, [None, 1, "x", [2], {"b": {}}, {"$numberLong": "9"}, True, 2**31, -(2**63), 1.5],
        FAR, [FAR], {"$numberDecimal": "NaN"}, [{"$numberDecimal": "1E+6000"}], ["\ud800"],
        ["\x00", "\u202e", "=1+1", "x" * 5000],
        {"t": {"tier": ["Gold"], "active": "yes", "benefits": 5}, "u": {"tier": None}, "v": 7, "w": {"tier": FAR}},
        [{"date": FAR, "amount": {"$numberLong": "9223372036854775807"}, "symbol": 5, "price": [], "total": {}}],
        [{"date": "today", "amount": 1e300, "transaction_code": [], "symbol": "x" * 3000, "price": "1E+999999"}],
        [{"date": {"$date": "0001-01-01T00:00:00Z"}, "amount": -5, "transaction_code": "sell", "symbol": "a",
          "price": {"$numberDecimal": "1E+6100"}, "total": {"$numberDecimal": "-1E+6100"}}],
        [{"date": {"$date": "9999-12-31T23:59:59Z"}, "amount": 5, "transaction_code": "buy", "symbol": "",
          "price": "1" * 60, "total": "-0.0000000000000000000000000000000000000000000000001"}],
    ]),
]  # fmt: skip
TEXTS = ["", "\u202e\u0000\u0007", "=1+1", "<script>alert(1)</script>", "{{ 7 * 7 }}"]
NUMBERS = [-1, 2, 2**31 - 1, "abc", 1.5]  # some of these only SQLite stores
KEYS = ["", "not an id", "a/b?c#d", "AAAAAAAAAAAAAAAAAAAAAAAA", "../../etc/passwd", "=1+1", "é" * 24]


def values_of(field: models.Field[Any, Any]) -> list[Any]:
    """Odd values for a column."""
    if field.primary_key:
        # SQLite compares keys by case, and an ObjectIdField looks keys up in lower case.
        keys = KEYS if connection.vendor == "mysql" else [key for key in KEYS if key == key.lower()]
        return keys if isinstance(field, models.CharField) else []
    if isinstance(field, models.ForeignKey):
        return [] if connection.vendor == "sqlite" else [999_999_999]  # SQLite checks them when a test ends
    if field.name == "extra":
        return [*DOCUMENTS[:4], "5", "[]"]
    if isinstance(field, (DocumentField, models.JSONField)):
        return DOCUMENTS
    if isinstance(field, models.DateTimeField):
        is_log = connection.vendor == "sqlite" and field.model is Entry  # Django's own converter fails on its dates
        return [] if is_log else MOMENTS
    if isinstance(field, (models.BooleanField, models.IntegerField, models.DecimalField)):
        return NUMBERS
    return TEXTS


def odd_rows(row: models.Model) -> Iterator[dict[Any, Any]]:
    """The columns of copies of this row: each copy has one odd value, and the last ones have only odd values."""
    good: dict[Any, Any] = {field.column: field.get_db_prep_save(getattr(row, field.attname), connection)
            for field in row._meta.concrete_fields}  # fmt: skip
    unique = [field.column for field in row._meta.concrete_fields if field.unique and not field.primary_key]
    number = 0
    assert row._meta.pk is not None

    def fresh() -> dict[Any, Any]:
        nonlocal number
        number += 1
        made = good | dict.fromkeys(unique)
        if isinstance(row._meta.pk, models.CharField):
            made[row._meta.pk.column] = f"{number:024x}"
        else:
            del made[row._meta.pk.column]
        return made

    for field in row._meta.concrete_fields:
        for value in values_of(field):
            yield fresh() | {field.column: value}
    for place in range(max(map(len, (MOMENTS, TEXTS)))):
        odd = fresh()
        for field in row._meta.concrete_fields:
            values = values_of(field)
            if values and not field.primary_key and not field.unique:
                odd[field.column] = values[place % len(values)]
        yield odd


def insert(table: str, columns: dict[Any, Any]) -> bool:
    """Inserts the row; whether the database accepted it."""
    name = connection.ops.quote_name
    sql = f"INSERT INTO {table} ({', '.join(map(name, columns))}) VALUES ({', '.join(['%s'] * len(columns))})"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, list(columns.values()))
    except (DatabaseError, OverflowError):
        return False
    return True


def insert_odd_rows(rows: list[models.Model]) -> dict[str, int]:
    """Inserts odd copies of these rows; the number in each table."""
    counts = {}
    with lax():
        for row in rows:
            table = row._meta.db_table
            counts[table] = sum(insert(table, columns) for columns in odd_rows(row))
    return counts


MODELS: tuple[Any, ...] = (*(kind.model for kind in RECORD_TYPES), Story, Sale, Entry, CachedReport)
