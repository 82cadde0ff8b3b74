"""A model gets a field whose value documents had in `extra`: no value is lost silently."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from bson import ObjectId
from django.apps import apps
from django.core.checks import run_checks
from django.db import connection, transaction
from pymongo.database import Database

from sync.mapping.registry import Target
from sync.operations import MoveFromExtra
from sync.outbox.capture import record
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.zoo.models import Order
from sync.verification.verify import verify
from sync.workers.models import ModelState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

KEYS = [str(ObjectId()) for _ in range(5)]
# The content of `extra` in each row, as after an AddField with a default.
EXTRA: list[dict[str, Any]] = [
    {"currency": "EUR"}, {"currency": "USD"}, {"note": "none"}, {"currency": None}, {"currency": 5},
]  # fmt: skip


@pytest.fixture
def orders(mongo: Database) -> list[str]:
    with transaction.atomic(), connection.cursor() as cursor:
        for key, extra in zip(KEYS, EXTRA, strict=True):
            cursor.execute(
                "INSERT INTO zoo_order (id, currency, total, extra) VALUES (%s, 'USD', 1, %s)", [key, json.dumps(extra)]
            )
            mongo.zoo_orders.insert_one({"_id": ObjectId(key), "total": 1, **extra})
        record(Order, KEYS, inline=False)
    return KEYS


def currencies(mongo: Database) -> list[Any]:
    return [mongo.zoo_orders.find_one({"_id": ObjectId(key)}).get("currency", "none") for key in KEYS]


def test_conflicting_values_are_a_dead_letter_and_the_document_keeps_its_value(
    orders: list[str], mongo: Database
) -> None:
    Relay().drain()
    assert currencies(mongo) == ["EUR", "USD", "USD", "USD", 5]
    errors = dict(Change.objects.exclude(error="").values_list("key", "error"))
    assert set(errors) == {KEYS[0], KEYS[4]}
    assert "currency: the column and extra hold different values" in errors[KEYS[0]]
    found = {each.key: each.kind for each in verify(Target(Order)).mismatches}
    assert found == {KEYS[0]: "unmappable", KEYS[4]: "unmappable"}


def test_a_check_counts_conflicting_values_after_the_mapping_has_changed(orders: list[str]) -> None:
    def warnings() -> list[str]:
        return [each.msg for each in run_checks(databases=["default"]) if each.id == "sync.W026"]

    assert warnings() == []  # all documents were written with the current mapping
    ModelState.objects.filter(model="zoo.order").update(mapping="another")
    [message] = warnings()
    assert message == "zoo.Order.currency is a field, and extra holds a currency in 3 rows."


def test_an_operation_moves_the_values_into_the_column(
    orders: list[str], mongo: Database, caplog: pytest.LogCaptureFixture
) -> None:
    state: Any = SimpleNamespace(apps=apps)
    with caplog.at_level(logging.ERROR), connection.schema_editor() as editor:
        MoveFromExtra("order", "currency").database_forwards("zoo", editor, state, state)
    assert "1 row of zoo.Order keeps its currency in extra" in caplog.text
    rows = dict(Order.objects.values_list("pk", "currency"))
    assert [rows[key] for key in KEYS] == ["EUR", "USD", "USD", "USD", "USD"]
    Relay().drain()
    assert currencies(mongo) == ["EUR", "USD", "USD", "USD", 5]
    assert [each.key for each in verify(Target(Order)).mismatches] == [KEYS[4]]


def test_reversing_the_operation_moves_the_values_back(orders: list[str]) -> None:
    state: Any = SimpleNamespace(apps=apps)
    with connection.schema_editor() as editor:
        MoveFromExtra("order", "currency").database_forwards("zoo", editor, state, state)
        MoveFromExtra("order", "currency").database_backwards("zoo", editor, state, state)
    extras = dict(Order.objects.values_list("pk", "extra"))
    # The last value was never moved: in the column, the number 5 would become text.
    assert [extras[key].get("currency") for key in KEYS] == ["EUR", "USD", "USD", "USD", 5]


@pytest.mark.parametrize(
    ("field", "stays", "moves"),
    [
        ("opens", ["12:00", "12:00:00.500", "12:00:00+01:00", 5], ["12:00:00", "12:00:00.500000"]),
        ("notes", [{"$numberDouble": "NaN"}, {"$numberLong": "7"}, {"$oid": KEYS[0]}], [[1, 2.5, None], "x"]),
        ("total", [{"$numberLong": "7"}, 7.0, True, "7"], [7, -1]),
    ],
)
def test_a_value_is_moved_only_if_its_document_stays_the_same(
    field: str, stays: list[Any], moves: list[Any], mongo: Database
) -> None:
    values = dict(zip([str(ObjectId()) for _ in [*stays, *moves]], [*stays, *moves], strict=True))
    with transaction.atomic(), connection.cursor() as cursor:
        for key, value in values.items():
            extra = json.dumps({field: value})
            cursor.execute("INSERT INTO zoo_order (id, currency, extra) VALUES (%s, 'USD', %s)", [key, extra])
        record(Order, list(values), inline=False)
    Relay().drain()
    before = {str(document["_id"]): repr(document[field]) for document in mongo.zoo_orders.find()}
    state: Any = SimpleNamespace(apps=apps)
    with connection.schema_editor() as editor:
        MoveFromExtra("order", field).database_forwards("zoo", editor, state, state)
    left = [field in extra for extra in Order.objects.in_bulk(list(values)).values() for extra in [extra.extra]]
    assert sorted(left) == sorted([True] * len(stays) + [False] * len(moves))
    with transaction.atomic():
        record(Order, list(values), inline=False)
    Relay().drain()
    assert {str(document["_id"]): repr(document[field]) for document in mongo.zoo_orders.find()} == before
    with connection.schema_editor() as editor:
        MoveFromExtra("order", field).database_backwards("zoo", editor, state, state)
    assert all(field in row.extra for row in Order.objects.all())


def test_a_sync_field_in_extra_is_rejected(mongo: Database) -> None:
    row = Order.objects.create(extra={"_sync": {"v": 1, "by": "another"}})
    assert mongo.zoo_orders.find_one() is None
    assert "extra: it holds a field _sync" in Change.objects.get(key=row.pk).error
