"""`migrate` upgrades a database of the version before `sync` was divided into packages, and loses no data.

The previous version is fixed: its tables are written through the historical models of BEFORE, whose names never change.
The upgraded tables are read through today's models.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import Any, NamedTuple

import bson
import pytest
from bson import Int64, ObjectId
from django.core.management import call_command
from django.db import connection, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import StateApps
from pymongo.database import Database

from sync.binlog.models import Sweep
from sync.jobs.models import Job
from sync.kafka.models import KafkaPosition
from sync.monitoring.models import Sample
from sync.outbox import backfill
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.replication.models import DeadLetter
from sync.tests.support.follow import sql
from sync.tests.support.hurry import hurry
from sync.verification.models import Mismatch, Verification
from sync.workers.models import Checkpoint, ModelState, Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

BEFORE = [("sync", "0005_pull_history")]
# As the previous version computed it. With a different one, `migrate` would deliver every row again.
FINGERPRINT_BEFORE = "db417a64429df2727d274897bb5eb3b923a7ec374bf8fd2b2d3980230c0b3cb0"
FIRST, SECOND, THIRD = (str(number) * 24 for number in (1, 2, 3))  # keys of keepers
DAY = datetime.datetime(2026, 11, 20, 8, 30, 15, 123456, datetime.UTC)
LATER = DAY + datetime.timedelta(days=365_000)  # not due during any test run


class Table(NamedTuple):
    """The rows of one table in the previous version, and its model today."""

    now: type[models.Model]
    rows: list[dict[str, Any]]
    renamed: Mapping[str, str] = {}  # columns: from the previous name to today's
    becomes: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row  # if more than names differ


def to_checkpoint_of_follower(row: dict[str, Any]) -> dict[str, Any]:
    names = ("server", "file", "offset", "gtids", "part", "followed", "unplanned", "prepared")
    return {"name": "follow-binlog", "state": {name: row[name] for name in names}, "seen_at": row["saved_at"]}


def to_checkpoint_of_puller(row: dict[str, Any]) -> dict[str, Any]:
    """No worker holds its lease after the upgrade: the workers of the previous version have stopped."""
    kept = {name: row[name] for name in ("token", "after", "dropped", "history", "mapping")}
    state = {**kept, "phase": {"following": "streaming"}[row["phase"]]}
    return {"name": f"pull:{row['model']}", "state": state, "in_sync_at": row["equal_at"], "owner": ""}


def change(number: int, **values: Any) -> dict[str, Any]:
    return {"id": f"{number:024}", "model": "zoo.keeper", "key": FIRST, "recorded_at": DAY, "due_at": LATER, **values}


# Every column has a value other than its default in at least one row.
TABLES = {
    "Change": Table(
        Change,
        [
            change(1),  # pending
            change(2, lane="eu", model="zoo.keeper@eu:keepers"),
            change(3, claim="a" * 24),  # in flight
            change(4, attempts=3, error="It timed out."),  # waits for its next attempt
            change(5, attempts=20, error="Document failed validation", failed=True),  # a dead letter
            change(6, key="", until=SECOND),  # a range of a backfill
            change(7, settling=True),  # a delete that settles
            change(8, lane="kafka", model="zoo.keeper@kafka:keepers"),
        ],
        renamed={"lane": "queue"},
    ),
    "ModelState": Table(
        ModelState,
        [
            {"model": "zoo.keeper", "mapping": FINGERPRINT_BEFORE, "paused": True, "delivered_at": DAY},
            {"model": "zoo.keeper@eu:keepers", "mapping": "b" * 64, "paused": False, "delivered_at": None},
        ],
    ),
    "Worker": Table(
        Worker,
        [
            {
                "id": "c" * 24, "kind": "relay", "host": "portal-1", "pid": 4711, "lane": "eu", "started_at": DAY,
                "heartbeat_at": DAY, "delivered": 12, "rate": 2.5, "lags": {"0.05": 7},
                "note": "MongoDB is unreachable",
            }
        ],
        renamed={"lane": "queue"},
    ),
    "BinlogPosition": Table(
        Checkpoint,
        [
            {
                "name": "binlog", "server": "uuid-1", "file": "binlog.000042", "offset": 8_589_934_592,
                "gtids": "0-1-77", "part": ["zoo.keeper", FIRST], "followed": ["zoo.keeper"],
                "unplanned": {"zoo.tag": True}, "prepared": {"X'1'": [["zoo.keeper", SECOND]]},
                "event_at": DAY, "saved_at": DAY,
            }
        ],
        becomes=to_checkpoint_of_follower,
    ),
    "Sweep": Table(Sweep, [{"id": 7, "model": "zoo.keeper", "due_at": LATER, "after": f'{{"$oid": "{FIRST}"}}'}]),
    "PullState": Table(
        Checkpoint,
        [
            {
                "model": "zoo.visit", "phase": "following", "token": {"_data": "8265AB"},
                "after": bson.encode({"_id": 17}), "dropped": True, "history": {"uuid": ObjectId(FIRST)},
                "mapping": "d" * 64, "owner": "e" * 24, "owner_name": "puller on portal-1",
                "leased_until": DAY, "equal_at": DAY,
            }
        ],
        becomes=to_checkpoint_of_puller,
    ),
    "ParkedDocument": Table(
        DeadLetter,
        [
            {
                "id": "f" * 64, "model": "zoo.visit", "key": "17", "document_key": bson.encode({"_id": 17}),
                "reason": "number: is no number", "parked_at": DAY, "tried_at": DAY,
            }
        ],
        renamed={"parked_at": "failed_at"},
    ),
    "KafkaPosition": Table(
        KafkaPosition,
        [
            {
                "id": partition + 1, "group": "portal", "topic": "shop.goods", "partition": partition,
                "cluster": "kraft-1", "topic_id": "topic-1", "offset": 9_000_000_000 + partition, "read_at": DAY,
            }
            for partition in (0, 1)
        ],
    ),
    "Errand": Table(
        Job,
        [
            {
                "id": 1, "model": "zoo.keeper", "kind": "repair", "prune": True, "unfinished": "zoo.keeper",
                "asked_by": "tess", "asked_at": DAY, "due_at": LATER, "claim": "a" * 24, "steps": 100, "done": 40,
                "found": 3, "repaired": 2, "note": "MongoDB is unreachable", "finished_at": None,
            },
            {
                "id": 2, "model": "zoo.tag", "kind": "verify", "prune": False, "unfinished": None, "asked_by": "tess",
                "asked_at": DAY, "due_at": DAY, "claim": "", "steps": 5, "done": 5, "found": 0, "repaired": 0,
                "note": "", "finished_at": DAY,
            },
        ],
    ),
    "Verification": Table(
        Verification,
        [
            {
                "id": 1, "model": "zoo.keeper", "mode": "strict", "started_at": DAY, "finished_at": None,
                "position": SECOND, "error": "MongoDB is unreachable", "compared": 1000, "pending": 4, "found": 1,
            },
            {
                "id": 2, "model": "zoo.keeper", "mode": "full", "started_at": DAY, "finished_at": DAY,
                "position": "", "error": "", "compared": 3, "pending": 0, "found": 0,
            },
        ],
    ),
    "Difference": Table(
        Mismatch,
        [
            {
                "id": 1, "model": "zoo.keeper", "key": FIRST, "kind": "different",
                "fields": [{"path": "name", "kind": "value", "expected": "string", "found": "int"}],
                "first_seen": DAY, "last_seen": LATER,
            }
        ],
    ),
    "Sample": Table(
        Sample, [{"slot": 59_000_000, "pending": 8, "oldest_age": 1.5, "rate": 0.25, "p50": 0.05, "p99": 2.0}]
    ),
}  # fmt: skip


@pytest.fixture
def before() -> Iterator[StateApps]:
    """Creates the empty tables of the previous version; yields its models. Restores today's tables afterwards."""
    apps = MigrationExecutor(connection).migrate(BEFORE).apps
    apps.get_model("sync", "ModelState").objects.all().delete()  # `migrate` created them with today's fingerprints
    yield apps
    upgrade()


def upgrade() -> None:
    """Upgrades as an operator does: runs the migrations, and what `sync` does after them."""
    call_command("migrate", verbosity=0)


def test_every_row_of_every_table_survives_the_upgrade(before: StateApps) -> None:
    old = {model.__name__: model for model in before.get_app_config("sync").get_models()}
    assert old.keys() == TABLES.keys()
    for name, table in TABLES.items():
        columns = [field.attname for field in old[name]._meta.concrete_fields]
        empty = [column for column in columns if not any(row.get(column) for row in table.rows)]
        assert empty == [], f"no row of {name} has a value in these columns"
        for row in table.rows:
            old[name].objects.create(**row)
    kept = {name: list(model.objects.values()) for name, model in old.items()}

    upgrade()
    for name, table in TABLES.items():
        now = {row[table.now._meta.pk.attname]: row for row in table.now.objects.values()}
        for row in kept[name]:
            row = table.becomes({table.renamed.get(column, column): value for column, value in row.items()})
            found = now[row[table.now._meta.pk.attname]]
            assert {column: found[column] for column in row} == row


@pytest.fixture
def keepers(before: StateApps, mongo: Database) -> StateApps:
    """Three rows in the previous version, without documents and changes."""
    for key in (FIRST, SECOND, THIRD):
        sql("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'Ann')", key)
    return before


def record(before: StateApps, *changes: dict[str, Any], paused: bool = False) -> None:
    """Creates these changes, and a fingerprint that counts all keepers as delivered by the previous version."""
    before.get_model("sync", "ModelState").objects.create(model="zoo.keeper", mapping=FINGERPRINT_BEFORE, paused=paused)
    for values in changes:
        before.get_model("sync", "Change").objects.create(**values)


def delivered(mongo: Database) -> list[str]:
    """Runs a relay. Returns the keys of the keepers that have a document."""
    Relay().drain()
    return [str(document["_id"]) for document in mongo.zoo_keepers.find(sort=[("_id", 1)])]


def test_pending_changes_are_delivered_and_those_in_flight_stay_with_their_worker(
    keepers: StateApps, mongo: Database
) -> None:
    pending = change(1, due_at=DAY)
    abandoned = change(2, key=SECOND, claim="a" * 24, due_at=DAY)  # by a worker that was killed
    in_flight = change(3, key=THIRD, claim="b" * 24)
    record(keepers, pending, abandoned, in_flight)

    upgrade()
    assert delivered(mongo) == [FIRST, SECOND]
    assert list(Change.objects.values_list("key", "claim")) == [(THIRD, "b" * 24)]


def test_ranges_of_a_backfill_are_delivered(keepers: StateApps, mongo: Database) -> None:
    record(keepers, change(1, key="", until=SECOND, due_at=DAY))

    upgrade()
    assert backfill.left() == 1
    assert delivered(mongo) == [FIRST, SECOND]


def test_settling_deletes_are_delivered_once_more_when_they_are_due(before: StateApps, mongo: Database) -> None:
    mongo.zoo_keepers.insert_one({"_id": ObjectId(FIRST), "name": "Ann", "_sync": {"v": Int64(1)}})  # restored
    record(before, change(1, settling=True))

    upgrade()
    assert delivered(mongo) == [FIRST]
    hurry()
    assert delivered(mongo) == []


def test_dead_letters_wait_for_retry(keepers: StateApps, mongo: Database) -> None:
    record(keepers, change(1, due_at=DAY, attempts=20, error="Document failed validation", failed=True))

    upgrade()
    assert delivered(mongo) == []
    call_command("sync", "retry", stdout=StringIO())
    assert delivered(mongo) == [FIRST]


def test_a_paused_model_stays_paused(keepers: StateApps, mongo: Database) -> None:
    record(keepers, change(1, due_at=DAY), paused=True)

    upgrade()
    assert delivered(mongo) == []
    call_command("sync", "resume", "zoo.keeper", stdout=StringIO())
    assert delivered(mongo) == [FIRST]


def test_documents_of_the_previous_version_are_not_delivered_again(keepers: StateApps, mongo: Database) -> None:
    record(keepers)

    upgrade()
    assert delivered(mongo) == []
