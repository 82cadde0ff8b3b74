"""Verify repairs mismatches through the same delivery, and deletes documents only with --prune."""

import threading
from typing import Any

import pytest
from bson import Int64, ObjectId
from django.core.management import CommandError
from django.db import connections
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.commands import command
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.zoo.models import Typed
from sync.verification.models import Mismatch
from sync.verification.repair import Repairer
from sync.verification.scan import Scan
from sync.verification.verify import verify
from sync.workers.models import ModelState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def accounts(mongo: Database) -> list[Account]:
    """Five accounts: one missing, one with another type, one different and two in sync; and two extra documents."""
    accounts = [make(number) for number in range(5)]
    for account in accounts:
        account.save()
    confirm()
    mongo.accounts.delete_one({"account_id": 0})
    mongo.accounts.update_one({"account_id": 1}, {"$set": {"limit": Int64(1000)}})
    mongo.accounts.update_one({"account_id": 2}, {"$set": {"products": [], "_sync": "by hand"}})
    mongo.accounts.insert_many([{"_id": "by hand", "account_id": 7}, {"_id": ObjectId("0" * 24), "account_id": 8}])
    return accounts


def test_it_writes_mismatched_documents_and_leaves_extra_ones(accounts: list[Account], mongo: Database) -> None:
    status, output = command("account", "--repair")
    assert status == 1
    assert f"finance.account {accounts[0].pk}: missing, written" in output
    assert f"finance.account {'0' * 24}: extra, left: --prune deletes it" in output
    assert "5 rows compared, 2 mismatches, 0 pending, 3 repaired" in output
    assert differences(Account, mongo) == sorted(["0" * 24, "by hand"])
    assert {difference.kind for difference in Mismatch.objects.all()} == {"extra"}


def test_with_prune_it_deletes_extra_documents(accounts: list[Account], mongo: Database) -> None:
    status, output = command("account", "--repair", "--prune")
    assert status == 0
    assert 'finance.account "by hand": extra, deleted' in output
    assert "0 mismatches, 0 pending, 5 repaired" in output
    assert differences(Account, mongo) == []
    assert not Mismatch.objects.exists()
    assert not Change.objects.filter(settling=False).exists()
    assert command("account", "--quiet") == (0, "")


def test_a_dry_run_says_what_it_would_do_and_does_nothing(accounts: list[Account], mongo: Database) -> None:
    before = list(mongo.accounts.find())
    status, output = command("account", "--repair", "--prune", "--dry-run")
    assert status == 1
    assert f"finance.account {accounts[0].pk}: missing, would be written" in output
    assert 'finance.account "by hand": extra, would be deleted' in output
    assert list(mongo.accounts.find()) == before
    assert not Change.objects.exists()


def test_it_works_while_a_relay_runs(accounts: list[Account], mongo: Database) -> None:
    relay = Relay(interval=0.01)

    def work() -> None:
        try:
            relay.run()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert command("account", "--repair", "--prune")[0] == 0
    finally:
        relay.stop.set()
        thread.join()
    assert differences(Account, mongo) == []


def test_it_repairs_a_failed_change(accounts: list[Account], mongo: Database) -> None:
    Change.objects.create(model="finance.account", key=accounts[0].pk, failed=True, error="no", due_at="2024-01-01T00Z")
    command("account", "--repair", "--prune")
    assert not Change.objects.filter(failed=True).exists()


def test_a_row_that_cannot_be_delivered_is_left_with_the_reason(mongo: Database) -> None:
    Typed.objects.bulk_create([Typed(id="00000000-0000-0000-0000-000000000001", json={"$where": 1})])
    Change.objects.all().delete()
    status, output = command("typed", "--repair")
    assert status == 1
    assert "unmappable, left: fix the row, which cannot become a document: json: the key '$where' starts with" in output
    assert not Change.objects.exists()


def test_an_orphan_that_changes_meanwhile_is_not_deleted(
    accounts: list[Account], mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Scan.documents_by_id

    def documents_by_id(scan: Scan, ids: list[Any]) -> dict[str, bytes]:
        found = read(scan, ids)
        mongo.accounts.update_one({"_id": "by hand"}, {"$inc": {"account_id": 1}})
        return found

    monkeypatch.setattr(Scan, "documents_by_id", documents_by_id)
    status, output = command("account", "--repair", "--prune")
    assert status == 1
    assert 'finance.account "by hand": extra, left: changed meanwhile' in output
    assert mongo.accounts.find_one({"_id": "by hand"})


def test_a_row_that_comes_back_keeps_its_document(accounts: list[Account], mongo: Database) -> None:
    """Another program creates the row of an extra document between the scan and the repair."""
    repairer = Repairer(Scan(Target(Account), "default"), prune=True, say=lambda line: None)

    def repair(found: Any) -> Any:
        Account.objects.get_or_create(pk="0" * 24, account_id=9, limit=1)
        return repairer(found)

    verify(Target(Account), repair=repair)
    assert mongo.accounts.find_one({"_id": ObjectId("0" * 24)})["account_id"] == 9
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("arguments", [["--prune"], ["--dry-run"], ["--resume", "--sample", "3"]])
def test_invalid_combinations_of_options_are_a_usage_error(arguments: list[str], mongo: Database) -> None:
    with pytest.raises(CommandError) as error:
        command(*arguments)
    assert error.value.returncode == 2


def test_a_paused_model_is_not_repaired(accounts: list[Account], mongo: Database) -> None:
    ModelState.objects.update_or_create(model="finance.account", defaults={"paused": True})
    with pytest.raises(CommandError, match=r"finance\.account is paused") as error:
        command("--repair")
    assert error.value.returncode == 2
    ModelState.objects.update_or_create(model="finance.customer", defaults={"paused": True})
    words = r"^finance\.account, finance\.customer are paused and cannot be repaired\. Resume them first: manage\.py "
    with pytest.raises(CommandError, match=words):
        command("--repair")
    ModelState.objects.update(paused=False)
