"""An unreadable row stops no reader of many rows: each reports it and continues with the others."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import Binary, ObjectId
from bson.binary import UUID_SUBTYPE
from bson.raw_bson import RawBSONDocument
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from pymongo.database import Database

from sync.mapping.registry import Target
from sync.monitoring.metrics import exposition
from sync.outbox.backfill import plan
from sync.outbox.capture import record
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.commands import sync
from sync.tests.support.lax import lax
from sync.tests.support.people import VIEWER, user
from sync.tests.zoo.models import Legacy, Typed
from sync.verification import verify as verifying
from sync.verification.models import Mismatch, Verification
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

KEYS = [f"{number:024x}" for number in range(1, 12)]
BAD = KEYS[5]
GOOD = [key for key in KEYS if key != BAD]
CLOCK = "838:59:59"  # not a time of day; the row's JSON is invalid, too
LABEL = "zoo.legacy"


@pytest.fixture
def rows(mongo: Database) -> Iterator[list[str]]:
    with lax() as cursor:
        with transaction.atomic():
            for key in KEYS:
                clock, data = (CLOCK, "[broken") if key == BAD else ("12:00:00", "[1]")
                cursor.execute(
                    "INSERT INTO zoo_legacy (id, clock, data_text, text) VALUES (%s, %s, %s, 'x')", [key, clock, data]
                )
            record(Legacy, KEYS, inline=False)
        yield KEYS


def documents(mongo: Database) -> set[str]:
    return {str(document["_id"]) for document in mongo.zoo_legacy.find()}


def test_the_relay_delivers_the_others_and_names_both_columns(rows: list[str], mongo: Database) -> None:
    Relay().drain()
    assert documents(mongo) == set(GOOD)
    [change] = Change.objects.filter(settling=False)
    assert change.key == BAD
    assert "clock: '838:59:59" in change.error
    assert "data_text: '[broken' is not JSON" in change.error


def test_verify_reports_it_and_exits_with_1(rows: list[str], mongo: Database) -> None:
    Relay().drain()
    mongo.zoo_legacy.update_one({"_id": ObjectId(KEYS[8])}, {"$set": {"text": "y"}})
    status, out = sync("verify", LABEL, "--json")
    assert status == 1
    [result] = json.loads(out)
    assert result["compared"] == len(KEYS)
    assert {each["key"]: each["kind"] for each in result["mismatches"]} == {BAD: "unmappable", KEYS[8]: "different"}


def test_repair_fixes_the_others(rows: list[str], mongo: Database) -> None:
    Relay().drain()
    mongo.zoo_legacy.delete_many({"_id": {"$in": [ObjectId(KEYS[0]), ObjectId(KEYS[8])]}})
    status, out = sync("verify", LABEL, "--repair")
    assert status == 1
    assert BAD in out
    assert "clock" in out
    assert documents(mongo) == set(GOOD)


def test_a_sample_of_all_reports_it(rows: list[str], mongo: Database) -> None:
    Relay().drain()
    status, out = sync("verify", LABEL, "--sample", "50")
    assert status == 1
    assert BAD in out


def test_a_backfill_delivers_the_others(rows: list[str], mongo: Database) -> None:
    Change.objects.all().delete()
    plan(Target(Legacy))
    Relay().drain()
    assert documents(mongo) == set(GOOD)
    assert list(Change.objects.filter(until="").values_list("key", flat=True)) == [BAD]


def test_trace_shows_the_columns_as_the_database_has_them(rows: list[str], mongo: Database) -> None:
    Relay().drain()
    status, out = sync("trace", LABEL, BAD)
    assert status == 1
    assert "verdict:   the row cannot become a document" in out
    assert "  data_text: [broken" in out
    assert "  clock: 838:59:59" in out


def test_the_record_page_shows_the_raw_text_with_the_reason(rows: list[str], mongo: Database, client: Client) -> None:
    client.force_login(user("vera", *VIEWER))
    response = client.get(f"/sync/record/{LABEL}/{BAD}/")
    page = response.content.decode()
    assert response.status_code == 200
    assert "[broken" in page
    assert "838:59:59" in page
    assert "is not JSON" in page


def test_a_row_is_not_saved_while_it_holds_an_unreadable_value(rows: list[str], mongo: Database) -> None:
    from sync.mapping.reading import exact

    row = exact(Legacy.objects.all()).get(pk=BAD)
    assert set(row.unreadable) == {"clock", "data_text"}
    with pytest.raises(ValueError, match="clock, data_text could not be read"):
        row.save()
    row.clock, row.data_text = None, [2]
    row.save()
    Relay().drain()
    assert mongo.zoo_legacy.find_one({"_id": ObjectId(BAD)})["data_text"] == [2]


def test_an_invalid_key_is_reported_and_stops_no_other(mongo: Database) -> None:
    if connection.vendor == "mysql" and connection.mysql_is_mariadb:  # type: ignore[attr-defined]
        pytest.skip("MariaDB's own UUID type accepts no other text")
    good = [uuid.UUID(int=number) for number in range(1, 6)]
    with transaction.atomic(), connection.cursor() as cursor:
        for key in [*(key.hex for key in good), "0" * 31 + "g", "not at all"]:
            cursor.execute("INSERT INTO zoo_typed (id, text) VALUES (%s, 'x')", [key])
    plan(Target(Typed))
    Relay().drain()
    assert {document["_id"].as_uuid() for document in mongo.zoo_typed.find()} == set(good)
    assert set(Change.objects.filter(until="").values_list("key", flat=True)) == {"0" * 31 + "g", "not at all"}
    for arguments in ((), ("--strict",), ("--sample", "50"), ("--repair",)):
        status, out = sync("verify", "zoo.typed", *arguments)
        assert status == 1, arguments
        assert "not at all" in out, arguments


def test_a_document_that_is_not_utf8_is_a_mismatch_and_stops_nothing(rows: list[str], mongo: Database) -> None:
    Relay().drain()
    key = ObjectId(KEYS[3])
    raw = bson.encode({"_id": key, "text": "PLACE"}).replace(b"PLACE", b"\xff\xfe\xff\xfe\xff")
    mongo.zoo_legacy.delete_one({"_id": key})
    mongo.zoo_legacy.insert_one(RawBSONDocument(raw))
    status, out = sync("verify", LABEL, "--json")
    assert status == 1
    assert {each["key"] for each in json.loads(out)[0]["mismatches"]} == {BAD, KEYS[3]}
    assert sync("trace", LABEL, KEYS[3])[0] == 1
    assert sync("verify", LABEL, "--repair")[0] == 1
    assert mongo.zoo_legacy.find_one({"_id": key})["text"] == "x"


def test_a_verify_that_crashes_leaves_no_finished_run(
    rows: list[str], mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    Relay().drain()
    sync("verify", LABEL)

    def crash(self: Any) -> None:
        raise RuntimeError("the disk is full of bees")

    monkeypatch.setattr(verifying.Run, "full", crash)
    with pytest.raises(RuntimeError):
        call_command("sync", "verify", LABEL)
    finished, crashed = Verification.objects.filter(model=LABEL).order_by("pk")
    assert finished.finished_at is not None
    assert crashed.finished_at is None
    assert crashed.error == "the disk is full of bees"
    Mismatch.objects.all().delete()
    [legacy] = [model for model in json.loads(sync("status", "--json")[1])["models"] if model["model"] == LABEL]
    assert legacy["mismatches"] is None, "the unfinished run may have found some"
    assert f'sync_mismatches{{model="{LABEL}"}}' not in exposition().decode()
    _, out = sync("status")
    assert "10 rows compared" not in out
    assert re.search(r"zoo\.legacy: verified \(full\) .*: 11 rows compared, 1 mismatch", out)
    assert re.search(
        r"zoo\.legacy: verify \(full\), started .*, has not finished, 0 rows compared: the disk is full", out
    )


def test_a_verify_that_mongodb_interrupts_says_why(rows: list[str], mongo: Database, mongod: Mongo) -> None:
    Relay().drain()
    mongod.kill()
    with pytest.raises(CommandError):
        call_command("sync", "verify", LABEL, "--quiet")
    [run] = Verification.objects.filter(model=LABEL)
    assert run.finished_at is None
    assert "MongoDB" in run.error


@pytest.mark.parametrize("text", ['["\\ud800"]', '{"\\ud800": 1}', '{"a\\u0000": 1}', "[" * 900 + "]" * 900])
@pytest.mark.parametrize("column", ["document", "data_text"])
def test_a_value_that_no_field_can_write_is_still_displayed(
    column: str, text: str, mongo: Database, client: Client
) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor != "mysql":
            cursor.execute("PRAGMA ignore_check_constraints = 1")
        cursor.execute(f"INSERT INTO zoo_legacy (id, {column}) VALUES (%s, %s)", [BAD, text])
        record(Legacy, [BAD], inline=False)
    Relay().drain()
    assert sync("verify", LABEL)[0] == 1
    status, out = sync("trace", LABEL, BAD)
    assert status == 1
    assert out.encode()  # a terminal can print it
    client.force_login(user("vera", *VIEWER))
    assert client.get(f"/sync/record/{LABEL}/{BAD}/").status_code == 200


def test_a_document_with_a_uuid_of_another_length_is_a_mismatch_and_stops_nothing(
    rows: list[str], mongo: Database
) -> None:
    Relay().drain()
    short = Binary(b"abc", UUID_SUBTYPE)
    mongo.zoo_legacy.update_one({"_id": ObjectId(KEYS[3])}, {"$set": {"text": short}})
    mongo.zoo_legacy.insert_one({"_id": short})
    mongo.zoo_typed.insert_one({"_id": short})
    assert sync("verify", "zoo.typed")[0] == 1
    for arguments in ((), ("--strict",), ("--sample", "50")):
        status, out = sync("verify", LABEL, *arguments)
        assert status == 1
        assert f"{KEYS[3]}: different (text is binary (subtype 4) instead of string)" in out
        assert "YWJj" in out
    assert sync("trace", LABEL, KEYS[3])[0] == 1
    sync("verify", LABEL, "zoo.typed", "--repair", "--prune")
    assert documents(mongo) == set(GOOD)
    assert mongo.zoo_legacy.find_one({"_id": ObjectId(KEYS[3])})["text"] == "x"
    assert mongo.zoo_typed.find_one() is None


@pytest.mark.parametrize("text", ['"\\ud800"', '{"a\\u0000": 1}', '{"$numberLong": "99999999999999999999"}'])
def test_a_value_that_bson_cannot_hold_is_reported_with_its_column(text: str, mongo: Database) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO zoo_legacy (id, document) VALUES (%s, %s)", [BAD, text])
        record(Legacy, [BAD], inline=False)
    Relay().drain()
    assert Change.objects.get().error.startswith("document: ")
    assert "unmappable (document: " in sync("verify", LABEL)[1]
    assert "reason:    document: " in sync("trace", LABEL, BAD)[1]
