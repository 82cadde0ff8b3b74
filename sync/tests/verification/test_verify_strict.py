"""verify --strict finds every row that raw SQL has changed, however a driver would read it, and reports no other.

A few thousand rows by default. docs/how-to/verify.md describes the run with STRICT_ROWS=100000 STRICT_ODDITIES=1000;
SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from django.db import connection, transaction
from pymongo.database import Database

from finance.models import Account, Customer, Transaction
from sync.mapping import documents
from sync.mapping.registry import Target
from sync.outbox.backfill import plan
from sync.outbox.capture import record
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.hurry import confirm
from sync.tests.support.lax import lax
from sync.tests.zoo.models import Keeper, Legacy
from sync.verification.strict import Proof
from sync.verification.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = int(os.environ.get("STRICT_ROWS", "4000"))
ODDITIES = int(os.environ.get("STRICT_ODDITIES", "200"))
SEED = int(os.environ.get("SEED", "0")) or random.randrange(10**6)
CHUNK = 500
COLUMNS = (
    "flag", "whole", "big", "price", "single", "double", "day", "moment", "clock", "span", "text", "fixed", "raw",
    "code", "data_text", "document",
)  # fmt: skip

# An SQL update of a row, and whether a document can hold its result.
ODD = [
    ("day = '0000-00-00'", False),
    ("day = '2024-02-31'", False),
    ("moment = '0000-00-00'", False),
    ("moment = '2023-02-29 01:02:03'", False),
    ("clock = SUBTIME('00:00:00', clock)", False),
    ("clock = '838:59:59'", False),
    ("flag = 2", False),
    ("flag = -1", False),
    ("data_text = '1e400'", False),
    ("data_text = '1.00000000000000000001'", False),
    ('data_text = \'{"a": 1, "a": 2}\'', False),
    ("data_text = '[broken'", False),
    ("document = '{broken'", False),
    ("document = '[1e400]'", False),
    ("code = 'none at all'", False),
    ("data_text = 'null'", True),
    ("data_text = NULL", True),
    ("document = 'null'", True),
    ('document = \'{"z": 5.0, "a": {"$numberLong": "7"}}\'', True),
    ('document = \'{"z": 5, "a": 7}\'', True),
    ('document = \'{"a": {"$numberLong": "7"}, "z": 5}\'', True),
    ("flag = 1 - flag", True),
    ("moment = moment + INTERVAL 1 MICROSECOND", True),
    ("clock = ADDTIME(clock, '00:00:00.000001')", True),
    ("text = CONCAT(text, ' ')", True),
    ("text = CONCAT(UPPER(LEFT(text, 1)), SUBSTRING(text, 2))", True),
    ("text = CONCAT(text, CHAR(13 USING utf8mb4))", True),
    ("text = CONCAT('e', CHAR(0xCC81 USING utf8mb4))", True),
    ("raw = CONCAT(raw, X'00')", True),
    ("fixed = ''", True),
    ("price = price + 0.0001", True),
    ("single = 16777216", True),
    ("`double` = `double` + 1e-12", True),
    ("big = big + 1", True),
    ("span = -span", True),
]


def value(column: str, chance: random.Random) -> Any:
    """A random value as a parameter of an SQL statement."""
    return {
        "flag": lambda: chance.randrange(2),
        "whole": lambda: chance.randrange(-(2**31), 2**31),
        "big": lambda: chance.randrange(2**62),
        "price": lambda: f"{chance.randrange(10**8)}.{chance.randrange(10**4):04}",
        "single": lambda: chance.randrange(2**24) / 64,
        "double": lambda: chance.random(),
        "day": lambda: f"{chance.randrange(1000, 9999)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        "moment": lambda: f"20{chance.randrange(100):02}-02-03 04:05:06.{chance.randrange(10**6 - 1):06}",
        "clock": lambda: f"{chance.randrange(1, 23):02}:59:58.{chance.randrange(10**6):06}",
        "span": lambda: chance.randrange(1, 2**62),
        "text": lambda: f"x{chance.getrandbits(40):x} \N{SNOWMAN}",
        "fixed": lambda: f"f{chance.randrange(10**6)}",
        "raw": lambda: chance.randbytes(9),
        "code": lambda: f"{chance.getrandbits(128):032x}",
        "data_text": lambda: json.dumps({"n": chance.random(), "list": [1, None, "x"]}),
        "document": lambda: '{"z": 5, "a": {"$numberLong": "7"}}',
    }[column]()


@pytest.fixture
def lax_session() -> Iterator[None]:
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no column types")
    with lax():
        yield


def test_it_finds_every_changed_row_and_reports_no_other(lax_session: None, mongo: Database) -> None:
    print(f"SEED={SEED}")
    chance = random.Random(SEED)
    keys = [str(ObjectId(chance.randbytes(12))) for _ in range(ROWS)]
    _insert(keys, chance)
    plan(Target(Legacy))
    Relay().drain()
    assert verify(Target(Legacy), strict=True).mismatches == []

    odd = dict(zip(chance.sample(keys, ODDITIES), chance.choices(ODD, k=ODDITIES), strict=True))
    with transaction.atomic(), connection.cursor() as cursor:
        for key, (change, _) in odd.items():
            cursor.execute(f"UPDATE zoo_legacy SET {change} WHERE id = %s", [key])
            assert cursor.rowcount == 1, change
    found = {difference.key for difference in verify(Target(Legacy), strict=True).mismatches}
    assert {odd[key][0] for key in odd.keys() - found} == set()
    assert found - odd.keys() == set()

    with transaction.atomic():
        record(Legacy, list(odd), inline=False)
    Relay().drain()
    left = {difference.key: difference.kind for difference in verify(Target(Legacy), strict=True).mismatches}
    assert left == dict.fromkeys((key for key, (_, fits) in odd.items() if not fits), "unmappable")
    assert set(Change.objects.exclude(error="").values_list("key", flat=True)) == left.keys()


def _insert(keys: list[str], chance: random.Random) -> None:
    names = ", ".join(f"`{name}`" for name in COLUMNS)
    places = f"(%s{', %s' * len(COLUMNS)})"
    with transaction.atomic(), connection.cursor() as cursor:
        for start in range(0, len(keys), CHUNK):
            rows = [[key, *(value(name, chance) for name in COLUMNS)] for key in keys[start : start + CHUNK]]
            cursor.execute(
                f"INSERT INTO zoo_legacy (id, {names}) VALUES {', '.join([places] * len(rows))}",
                [item for row in rows for item in row],
            )


@pytest.mark.engine
def test_a_document_that_the_application_maps_is_compared_without_the_proof(
    mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_document(row: Keeper) -> dict[str, Any]:
        return {**documents.to_document(row), "greeting": f"Hello {row.name}"}

    monkeypatch.setattr(Keeper, "to_document", to_document)
    row = Keeper.objects.create(name="Ada")
    confirm()
    assert mongo.zoo_keepers.find_one()["greeting"] == "Hello Ada"
    assert verify(Target(Keeper), strict=True).mismatches == []
    mongo.zoo_keepers.update_one({}, {"$set": {"greeting": "Bye"}})
    assert [each.key for each in verify(Target(Keeper), strict=True).mismatches] == [row.pk]


@pytest.mark.parametrize("model", [Account, Customer, Transaction])
def test_the_proof_omits_no_field(model: Any, db: None) -> None:
    proof = Proof(model, "default")
    assert proof.unchecked == []
    assert len(proof.columns) >= len(model._meta.concrete_fields) - 1  # the key is looked up, not compared
