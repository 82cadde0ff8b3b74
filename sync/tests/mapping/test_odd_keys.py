"""Keys as other programs write them: each identifies one row and one document, in both directions."""

from __future__ import annotations

import uuid

import pytest
from bson import ObjectId
from django.db import connection, transaction
from pymongo.database import Database

from sync.mapping.registry import Target
from sync.outbox.backfill import plan
from sync.outbox.capture import record
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.commands import sync
from sync.tests.support.hurry import confirm
from sync.tests.zoo.models import Keeper, Typed
from sync.verification.scan import Scan
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

KEY = "abcdef0123456789abcdef01"


@pytest.fixture
def upper_case(mongo: Database) -> None:
    """A row whose ObjectId another program has written in upper case."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite compares text case-sensitively")
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'Ada')", [KEY.upper()])


def test_an_object_id_in_upper_case_is_the_same_key(upper_case: None, mongo: Database) -> None:
    plan(Target(Keeper))
    Relay().drain()
    for arguments in ((), ("--strict",), ("--sample", "9"), ("--repair", "--prune")):
        assert sync("verify", "keeper", *arguments)[0] == 0, arguments
    assert mongo.zoo_keepers.find_one()["_id"] == ObjectId(KEY)
    assert sync("trace", "keeper", KEY.upper())[0] == 0


@pytest.mark.parametrize("spelling", [KEY, KEY.upper()])
def test_a_change_with_either_spelling_delivers_the_row(upper_case: None, spelling: str, mongo: Database) -> None:
    for name in ("x", "y"):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE zoo_keeper SET name = %s", [name])
            record(Keeper, [spelling], inline=False)
        Relay().drain()
        assert [each["name"] for each in mongo.zoo_keepers.find()] == [name]
    assert not Change.objects.exists()


def test_trace_finds_a_uuid_in_any_spelling(mongo: Database) -> None:
    key = uuid.uuid4()
    Typed.objects.create(id=key, uuid=key)
    confirm()
    for spelling in (str(key), key.hex, str(key).upper()):
        status, out = sync("trace", "typed", spelling)
        assert status == 0
        assert "verdict:   in sync" in out


def test_an_empty_text_is_a_key_like_any_other(mongo: Database) -> None:
    scan = Scan(Target(Keeper), "default")
    scan.codec = Scan(Target(Keeper), "default").codec._replace(to_bson=str, from_bson=str)
    mongo.zoo_keepers.insert_one({"_id": ""})
    assert set(scan.documents([""])) == {""}


def test_the_proof_reads_a_column_whose_name_is_in_another_case(mongo: Database) -> None:
    if connection.vendor != "mysql":
        pytest.skip("only MySQL reports columns' types")
    Keeper.objects.create(id=KEY, name="Ada")
    confirm()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE zoo_keeper CHANGE name NaMe varchar(50) NOT NULL")
    try:
        assert verify(Target(Keeper), strict=True).mismatches == []
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE zoo_keeper CHANGE NaMe name varchar(50) NOT NULL")
