"""Verify under live load: it finds every seeded mismatch, reports no other, and repairs all of them.

VERIFY_FULL=1 uses 100,000 documents with 1,000 mismatches of each kind; the default is a tenth of both.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from bson import ObjectId
from pymongo.database import Database

from finance.models import Customer
from sync.mapping.registry import Target
from sync.mongodb.client import forget_clients
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.processes import Process, script
from sync.verification.models import Verification
from sync.verification.repair import Repairer
from sync.verification.scan import Scan
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]

SCRIPTS = "sync.tests.support.scripts"
DOCUMENTS, EACH = (100_000, 1_000) if os.environ.get("VERIFY_FULL") else (10_000, 100)
TIERS = {"abc": {"tier": "Gold", "benefits": ["dedicated account representative"], "active": True}}


@pytest.fixture
def patience(settings: Any) -> Iterator[None]:
    """Timeouts as in production: slow responses under load must not count as an outage."""
    settings.SYNC_TIMEOUT, settings.SYNC_LEASE, settings.SYNC_SETTLE = 10, 30, 60
    forget_clients()
    yield
    forget_clients()


@pytest.fixture
def seeded(patience: None, mongo: Database) -> dict[str, str]:
    """The kind of mismatch by key: EACH of every kind, in keys that the load does not write."""
    rows = [
        Customer(
            username="seeded" if number < 4 * EACH else "live",
            name=f"Customer {number}",
            birthdate="1990-01-01T00:00Z",
            accounts=[number, number + 1],
            tier_and_details=TIERS,
        )
        for number in range(DOCUMENTS)
    ]
    Customer.objects.bulk_create(rows, batch_size=500)
    Relay().drain()
    keys = [row.pk for row in rows[: 4 * EACH]]
    missing, different, other_type, other_order = (keys[start::4] for start in range(4))
    extra = [ObjectId() for _ in range(EACH)]
    orphan = [f"orphan {number}" for number in range(EACH)]
    reversed_documents = [dict(reversed(one.items())) for one in mongo.customers.find({"_id": _ids(other_order)})]
    mongo.customers.bulk_write(
        [
            pymongo.DeleteMany({"_id": _ids(missing)}),
            pymongo.UpdateMany({"_id": _ids(different)}, {"$set": {"tier_and_details.abc.active": False}}),
            pymongo.UpdateMany({"_id": _ids(other_type)}, [{"$set": {"accounts": _second_as_int64()}}]),
            *[pymongo.ReplaceOne({"_id": document["_id"]}, document) for document in reversed_documents],
            *[pymongo.InsertOne({"_id": _id, "name": "extra"}) for _id in [*extra, *orphan]],
        ],
        ordered=False,
    )
    kinds = {"missing": missing, "different": different, "type": other_type, "order": other_order}
    kinds["extra"] = [*map(str, extra), *(f'"{_id}"' for _id in orphan)]
    return {key: kind for kind, keys in kinds.items() for key in keys}


def _ids(keys: list[str]) -> dict[str, list[ObjectId]]:
    return {"$in": [ObjectId(key) for key in keys]}


def _second_as_int64() -> list[object]:
    """A customer's two account numbers: the same values, the second of another type."""
    first = {"$arrayElemAt": ["$accounts", 0]}
    return [first, {"$toLong": {"$add": [first, 1]}}]


@pytest.fixture
def live(seeded: dict[str, str]) -> Iterator[None]:
    """Runs two writers, one that delivers inline and one that leaves delivery to a relay, and that relay."""
    with (
        script(f"{SCRIPTS}.write_customers", "1", "inline") as inline,
        script(f"{SCRIPTS}.write_customers", "2", "outbox") as outbox,
        script(f"{SCRIPTS}.relay_until_input_ends") as relay,
    ):
        time.sleep(2)
        yield
        writes = [done(inline), done(outbox)]
        print(f"{writes} concurrent writes, {done(relay)} keys relayed")
    assert min(writes) > 10


def done(process: Process) -> int:
    """Closes its input, so that it finishes; returns the count that it printed."""
    process.close_input()
    assert process.wait() == 0
    return int(process.stdout)


def found(run: Verification) -> dict[str, str]:
    """By key, the kind of mismatch; without the digest that keeps orphans' keys unique."""
    return {difference.key.split(" [")[0]: difference.kind for difference in run.mismatches}


def test_every_mismatch_is_found_and_repaired_and_no_other_is_reported(
    seeded: dict[str, str], mongo: Database, live: None
) -> None:
    assert len(seeded) == 6 * EACH
    start = time.monotonic()
    run = verify(Target(Customer))
    took = time.monotonic() - start
    print(f"found {run.found:,} in {run.compared:,} rows in {took:.1f} s, {run.pending} pending")
    assert found(run) == seeded
    assert run.found == 6 * EACH

    repairer = Repairer(Scan(Target(Customer), "default"), prune=True, say=lambda line: None)
    start = time.monotonic()
    run = verify(Target(Customer), repair=repairer)
    print(f"repaired {repairer.repaired:,} in {time.monotonic() - start:.1f} s, {repairer.left} left")
    assert (repairer.repaired, repairer.left) == (6 * EACH, 0)
    assert verify(Target(Customer)).mismatches == []


@pytest.fixture(autouse=True)
def in_sync_at_rest(patience: None, mongo: Database) -> Iterator[None]:
    """Delivers the pending changes after the load has stopped, then reads both databases directly and compares them."""
    yield
    while Change.objects.filter(settling=False).exists():
        Relay().drain()
        time.sleep(0.1)
    assert differences(Customer, mongo) == []
