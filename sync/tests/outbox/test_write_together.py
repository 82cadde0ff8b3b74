"""Many documents are written by one command, which keeps the condition of each."""

from __future__ import annotations

import datetime
import os
import random
import time
from typing import Any

import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.mongodb import bulk_merge
from sync.outbox.models import Change
from sync.outbox.mongo_writer import State, deliver
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.support.interleaving import between_row_and_write
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ROWS = 30


@pytest.fixture
def keys(mongo: Database, settings: Any) -> list[str]:
    """The keys of rows without documents."""
    settings.SYNC_INLINE = False
    accounts = [make(number) for number in range(ROWS)]
    Account.objects.bulk_create(accounts)
    return [account.pk for account in accounts]


def states(keys: list[str]) -> dict[State, int]:
    found = list(deliver(Target(Account), keys, "default", "a token").states.values())
    return {state: found.count(state) for state in found}


def test_one_command_inserts_all(keys: list[str], mongo: Database, commands: list[Any]) -> None:
    Relay().drain()
    assert differences(Account, mongo) == []
    [insert] = [command for command in commands if "$merge" in command.get("pipeline", [{}])[-1]]
    assert insert["writeConcern"] == {"w": "majority"}
    assert insert["maxTimeMS"] > 0
    assert not [command for command in commands if "update" in command]


def test_a_document_that_exists_by_now_is_left_alone(
    keys: list[str], mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {"_id": ObjectId(keys[4]), "limit": -1}
    between_row_and_write(monkeypatch, lambda: mongo.accounts.insert_one(theirs))
    assert states(keys) == {State.DELIVERED: ROWS - 1, State.CONFLICT: 1}
    assert mongo.accounts.find_one({"_id": theirs["_id"]}) == theirs
    Relay().drain()
    assert differences(Account, mongo) == []


def test_a_document_that_the_collection_refuses_stops_no_other(keys: list[str], mongo: Database) -> None:
    mongo.accounts.insert_one({})
    mongo.accounts.delete_many({})
    mongo.command("collMod", "accounts", validator={"account_id": {"$nin": [3, 7]}})
    try:
        assert states(keys) == {State.DELIVERED: ROWS - 2, State.REJECTED: 2}
        assert mongo.accounts.count_documents({}) == ROWS - 2
    finally:
        mongo.command("collMod", "accounts", validator={})


@pytest.mark.parametrize("has_deadline", [True, False])
def test_no_document_is_inserted_after_the_deadline(
    keys: list[str], mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch, *, has_deadline: bool
) -> None:
    """The process is frozen for longer than the lease, and the rows are deleted meanwhile."""
    settings.SYNC_LEASE, settings.SYNC_SETTLE = 0.5, 0.7
    Change.objects.all().delete()
    if not has_deadline:
        monkeypatch.setattr(bulk_merge, "in_time", lambda deadline: True)

    def gone_for_long() -> None:
        Account.objects.all().delete()
        confirm()
        time.sleep(1)
        Relay().drain()
        assert not Change.objects.exists()

    between_row_and_write(monkeypatch, gone_for_long)
    assert states(keys) == {State.CONFLICT if has_deadline else State.DELIVERED: ROWS}
    assert mongo.accounts.count_documents({}) == (0 if has_deadline else ROWS)


@pytest.fixture
def stored(keys: list[str]) -> list[str]:
    """The keys of rows whose documents exist, and have changed since."""
    Relay().drain()
    Account.objects.update(limit=5)
    return keys


def test_one_command_replaces_all(stored: list[str], mongo: Database, commands: list[Any]) -> None:
    commands.clear()
    Relay().drain()
    assert differences(Account, mongo) == []
    [replace] = [command for command in commands if "$merge" in command.get("pipeline", [{}])[-1]]
    assert replace["writeConcern"] == {"w": "majority"}
    assert replace["maxTimeMS"] > 0
    assert not [command for command in commands if "update" in command]


@pytest.mark.parametrize("then", ["changed", "deleted"])
def test_a_document_that_another_writer_changes_meanwhile_is_left_alone(
    stored: list[str], mongo: Database, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    theirs = {"_id": ObjectId(stored[4])}

    def act() -> None:
        if then == "changed":
            mongo.accounts.update_one(theirs, {"$set": {"limit": -1, "_sync.v": Int64(time.time_ns())}})
        else:
            mongo.accounts.delete_one(theirs)

    between_row_and_write(monkeypatch, act)
    assert states(stored) == {State.DELIVERED: ROWS - 1, State.CONFLICT: 1}
    assert [each["limit"] for each in mongo.accounts.find(theirs)] == ([-1] if then == "changed" else [])
    Relay().drain()
    assert differences(Account, mongo) == []


def test_a_replacement_that_the_collection_refuses_stops_no_other(stored: list[str], mongo: Database) -> None:
    mongo.command("collMod", "accounts", validator={"account_id": {"$nin": [3, 7]}}, validationLevel="strict")
    try:
        assert states(stored) == {State.DELIVERED: ROWS - 2, State.REJECTED: 2}
        assert mongo.accounts.count_documents({"limit": 5}) == ROWS - 2
    finally:
        mongo.command("collMod", "accounts", validator={})


def test_documents_of_another_program_become_the_mirrors(stored: list[str], mongo: Database) -> None:
    mongo.accounts.update_many({}, {"$unset": {"_sync": ""}})
    mongo.accounts.update_one({"_id": ObjectId(stored[1])}, {"$set": {"_sync": 3}})
    Relay().drain()
    assert differences(Account, mongo) == []


def test_a_value_that_a_plain_insert_would_replace_is_kept(mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = False
    Account.objects.bulk_create(
        [Account(account_id=number, limit=1, extra={"empty": Timestamp(0, 0)}) for number in range(ROWS)]
    )
    Relay().drain()
    assert mongo.accounts.distinct("empty") == [Timestamp(0, 0)]
    assert differences(Account, mongo) == []


def test_large_documents_are_inserted_in_several_commands(mongo: Database, settings: Any, commands: list[Any]) -> None:
    settings.SYNC_INLINE = False
    large = 3_000_000
    Account.objects.bulk_create([make(number, products=["x" * (large if number < 5 else 1)]) for number in range(12)])
    Relay().drain()
    assert differences(Account, mongo) == []
    assert len([command for command in commands if "$merge" in command.get("pipeline", [{}])[-1]]) == 3


def some_value(chance: random.Random, depth: int = 0) -> Any:
    """A random BSON value."""
    kind = chance.randrange(16 if depth < 4 else 14)
    moment = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
        milliseconds=chance.randrange(10**12)
    )
    simple = [
        None, chance.random() < 0.5, chance.randrange(-(2**31), 2**31), Int64(chance.randrange(-(2**63), 2**63)),
        Int64(chance.randrange(5)), chance.choice([0.0, -0.0, 1e300, 5e-324, float("inf"), chance.random()]),
        Decimal128(chance.choice(["1.10", "-0", "NaN", "1E+6000"])), ObjectId(), moment, chance.randbytes(5),
        chance.choice(["", "$a", "a.b", "\0", "\N{GRINNING FACE}"]),
        Timestamp(chance.randrange(2), chance.randrange(2)),
        chance.choice([MinKey(), MaxKey(), Regex("^a", "i")]), Code("return 1", {"x": 1}),
    ]  # fmt: skip
    if kind < len(simple):
        return simple[kind]
    items = [some_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return items if kind == len(simple) else {f"{chance.choice('zya')}.{n}": item for n, item in enumerate(items)}


def test_random_documents_are_stored_byte_for_byte_as_one_by_one(
    mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    settings.SYNC_INLINE = False
    Account.objects.bulk_create(
        [Account(account_id=n, limit=1, extra={"z": some_value(chance), "a": some_value(chance)}) for n in range(500)]
    )
    raw = mongo.get_collection("accounts", codec_options=CodecOptions(document_class=RawBSONDocument))
    stored = []
    for fewest, is_inserted in ((1, True), (1, False), (10**9, True), (10**9, False)):
        monkeypatch.setattr(bulk_merge, "FEWEST", fewest)
        if is_inserted:
            raw.delete_many({})
        else:
            raw.update_many({}, {"$set": {"a": 1, "z": [1], "new": 1}})
        Account.objects.update(limit=1)
        Relay().drain()
        assert not Change.objects.exists()
        without = [{"$sort": {"_id": 1}}, {"$unset": "_sync"}]
        stored.append([document.raw for document in raw.aggregate(without)])
    assert len(stored[0]) == 500
    assert stored[0] == stored[1] == stored[2] == stored[3]
    assert verify(Target(Account), strict=True).found == 0


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], []), ([1], [(0, 1)]), ([9, 1, 1], [(0, 1), (1, 3)]), ([4, 4, 4, 9, 1], [(0, 2), (2, 3), (3, 4), (4, 5)])],
)
def test_parts_are_within_the_limit_unless_they_have_one_document(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], expected: list[tuple[int, int]]
) -> None:
    class Raw:
        def __init__(self, size: int) -> None:
            self.raw = b"x" * size

    monkeypatch.setattr(bulk_merge, "LARGEST", 8)
    documents: Any = [Raw(size) for size in sizes]
    assert [(part.start, part.stop) for part in bulk_merge.parts(documents)] == expected
