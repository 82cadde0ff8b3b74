"""The stored record of a verify run: times, counts, when each mismatch was first seen, and where to continue."""

import io
import json
import re
import tracemalloc
import uuid
from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId
from django.core.management import call_command
from pymongo.database import Database

from finance.models import Account
from sync.mapping.documents import codec
from sync.mapping.registry import Target
from sync.mongodb.client import collection
from sync.tests.support.commands import command
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.zoo.models import Typed
from sync.verification import scan, verify
from sync.verification.models import Mismatch, Verification

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def accounts(mongo: Database) -> list[Account]:
    # Resets the estimated collection size, which samples use. It is wrong after another test has killed MongoDB.
    mongo.accounts.drop()
    return fill(30)


def fill(count: int) -> list[Account]:
    """Accounts in both databases, in order of their key."""
    accounts = [make(number) for number in range(count)]
    Account.objects.bulk_create(accounts, batch_size=500)
    confirm()
    return sorted(accounts, key=lambda account: account.pk)


def test_a_run_is_stored_with_its_counts(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.delete_one({"account_id": 3})
    command("account")
    run = Verification.objects.get()
    assert (run.model, run.mode, run.compared, run.pending, run.found) == ("finance.account", "full", 30, 0, 1)
    assert run.finished_at
    assert run.finished_at >= run.started_at


def test_a_mismatch_keeps_the_time_it_was_first_seen(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.delete_one({"account_id": 3})
    command("account")
    first = Mismatch.objects.get()
    mongo.accounts.insert_one({"_id": ObjectId(first.key)})
    command("account")
    again = Mismatch.objects.get()
    assert (first.kind, again.kind) == ("missing", "different")
    assert again.first_seen == first.first_seen
    assert again.last_seen > first.last_seen


def test_a_mismatch_that_no_longer_exists_is_removed(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.delete_one({"account_id": 3})
    mongo.accounts.insert_one({"_id": "by hand"})
    command("account")
    assert Mismatch.objects.count() == 2
    mongo.accounts.delete_one({"_id": "by hand"})
    Account.objects.get(account_id=3).save()
    assert command("account")[0] == 0
    assert not Mismatch.objects.exists()


def test_the_json_has_kind_fields_types_and_first_seen(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.update_one({"account_id": 3}, {"$set": {"products": ["Brokerage", 1], "limit": 1000.0}})
    out = io.StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("sync", "verify", "account", "--json", stdout=out)
    assert end.value.code == 1
    [result] = json.loads(out.getvalue())
    [difference] = result["mismatches"]
    assert difference.pop("first_seen") >= result["started_at"]
    assert difference == {
        "model": "finance.account",
        "key": Account.objects.get(account_id=3).pk,
        "kind": "different",
        "fields": ["limit", "products.1"],
        "types": {"limit": ["int32", "double"], "products.1": [None, "int32"]},
    }


@pytest.mark.parametrize("size", ["20", "50%", "100"])
def test_a_sample_checks_some_keys_of_both_databases(size: str, accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.insert_many([{"_id": ObjectId(), "account_id": number} for number in range(30)])
    mongo.accounts.delete_many({"account_id": {"$lt": 0}})
    command("account", "--sample", size)
    run = Verification.objects.get()
    expected = {"20": 40, "50%": 45, "100": 90}[size]
    assert run.mode == "sampled"
    assert run.compared <= expected
    assert 0 < run.found <= 30
    assert {difference.kind for difference in run.mismatches} == {"extra"}
    if size == "100":
        assert run.found == 30


def test_a_sample_removes_only_mismatches_that_it_found_in_sync(accounts: list[Account], mongo: Database) -> None:
    document = mongo.accounts.find_one_and_delete({"account_id": 3})
    Mismatch.objects.create(model="finance.account", key="f" * 24, kind="missing", last_seen="2024-01-01T00Z")
    command("account")
    mongo.accounts.insert_one(document)
    Mismatch.objects.create(model="finance.account", key="f" * 24, kind="missing", last_seen="2024-01-01T00Z")
    command("account", "--sample", "30")
    assert [difference.key for difference in Mismatch.objects.all()] == ["f" * 24]


class Interrupted(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5, 7, 9, 11, 13])
@pytest.mark.parametrize("model", [Account, Typed])
def test_an_interrupted_run_continues_where_it_stopped(
    stop_after: int, model: Any, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in each of its chunks, for keys in the same order in both databases and for keys in different orders."""
    rows = fill(30) if model is Account else fill_typed(30)
    keys = [str(row.pk) for row in rows]
    mongod = collection(Target(model))
    wrong = [keys[4], keys[28], *(re.sub("[0-9a-f]", digit, keys[0]) for digit in "0f")]
    ids = [codec(model._meta.pk).to_bson(model._meta.pk.to_python(key)) for key in wrong]
    mongod.delete_many({"_id": {"$in": ids[:2]}})
    mongod.insert_many([{"_id": _id} for _id in ["by hand", *ids[2:]]])

    compared: list[str] = []
    find = scan.Scan.mismatch

    def mismatch(self: Any, key: str, row: Any, document: Any) -> Any:
        compared.append(key)
        return find(self, key, row, document)

    def progress(steps: int) -> None:
        nonlocal stop_after
        stop_after -= bool(steps)
        if stop_after == 0:
            raise Interrupted

    monkeypatch.setattr(scan, "CHUNK", 5)
    monkeypatch.setattr(scan, "FIRST_CHUNK", 5)
    monkeypatch.setattr(verify, "SAVE_EVERY", 0)
    monkeypatch.setattr(verify, "PAUSE", 0.01)
    monkeypatch.setattr(scan.Scan, "mismatch", mismatch)
    with suppress(Interrupted):
        verify.verify(Target(model), progress=progress)
    [before] = Verification.objects.all()
    seen, compared[:] = compared[:], []
    after = verify.verify(Target(model), resume=True)
    if before.finished_at is None:
        assert after.pk == before.pk
        assert (after.compared, after.found) == (30, 5)
        assert {difference.key for difference in after.mismatches} > set(wrong)
        # Keys compared after the run was last saved are compared again: one chunk, and not those before it.
        assert set(seen) | set(compared) == {*keys, *wrong}
        assert len(set(seen) & set(compared) - set(wrong)) <= 5
    else:
        assert after.pk != before.pk, "a finished run is not resumed"


def fill_typed(count: int) -> list[Typed]:
    rows = [Typed(id=uuid.uuid4()) for _ in range(count)]
    Typed.objects.bulk_create(rows)
    confirm()
    return sorted(rows, key=lambda row: str(row.pk))


def test_memory_does_not_grow_with_the_number_of_rows(
    mongo: Database, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SYNC_TIMEOUT, settings.SYNC_LEASE, settings.SYNC_SETTLE = 10, 30, 60  # 1,500 rows on a busy machine
    monkeypatch.setattr(scan, "CHUNK", 200)
    monkeypatch.setattr(scan, "FIRST_CHUNK", 200)
    peaks = []
    for count in (500, 1500):
        fill(count)
        tracemalloc.start()
        assert verify.verify(Target(Account)).compared >= count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    print([f"{peak / 1e6:.1f} MB" for peak in peaks])
    assert peaks[1] < 1.2 * peaks[0]
