"""Changes by other programs in either database, restored dumps and clock jumps have a defined outcome."""

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Int64, ObjectId
from django.core.management import call_command
from django.db import connection
from pymongo.database import Database

from finance.models import Account
from sync.mapping.registry import Target
from sync.mongodb.client import clock
from sync.outbox import mongo_writer
from sync.outbox.models import Change
from sync.tests.support.compare import differences, rows
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.support.processes import finished, script
from sync.verification.verify import verify
from tests.servers import SERVERS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

HOUR = 3600


def kinds() -> dict[str, str]:
    """The kind of each mismatch that verify finds, by key."""
    return {difference.key: difference.kind for difference in verify(Target(Account)).mismatches}


def repair() -> None:
    with suppress(SystemExit):  # exit status 1: it found mismatches
        call_command("sync", "verify", "account", "--repair", "--prune", "--quiet")


# --- documents ------------------------------------------------------------------------------------------------------


def test_a_changed_document_is_overwritten_by_the_next_delivery(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.update_one({"account_id": 0}, {"$set": {"limit": -1, "note": "by hand"}})
    assert kinds() == {accounts[0].pk: "different"}
    accounts[0].save()
    assert differences(Account, mongo) == []


def test_a_removed_document_is_written_again_by_the_next_delivery(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.delete_one({"account_id": 0})
    assert kinds() == {accounts[0].pk: "missing"}
    Account.objects.filter(account_id=0).update(limit=5)
    assert differences(Account, mongo) == []


def test_deleting_a_row_whose_document_was_removed_works(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.delete_one({"account_id": 0})
    accounts[0].delete()
    confirm()
    confirm()
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("sync", [None, {"v": Int64(5), "by": "somebody"}])
def test_an_added_document_is_extra_until_it_is_pruned_or_a_row_with_its_key_is_saved(
    sync: Any, accounts: list[Account], mongo: Database
) -> None:
    ours, theirs = make(7), "f" * 24
    for key in (ours.pk, theirs):
        mongo.accounts.insert_one({"_id": ObjectId(key), "by": "hand"} | ({"_sync": sync} if sync else {}))
    assert kinds() == {ours.pk: "extra", theirs: "extra"}
    ours.save()
    confirm()
    assert kinds() == {theirs: "extra"}
    repair()
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("sync", [None, 5, "text", {}, {"v": "text"}, {"v": None}, {"v": 2**62}, {"v": 1.5}, [1]])
def test_a_document_without_a_valid_version_is_overwritten(sync: Any, accounts: list[Account], mongo: Database) -> None:
    document = {"_id": ObjectId(accounts[0].pk), "by": "hand"}
    mongo.accounts.replace_one({"account_id": 0}, document if sync is None else {**document, "_sync": sync})
    assert kinds() == {accounts[0].pk: "different"}
    accounts[0].save()
    assert differences(Account, mongo) == []
    assert isinstance(mongo.accounts.find_one({"account_id": 0})["_sync"]["v"], Int64)


def test_verify_repairs_all_kinds_of_foreign_changes(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.update_one({"account_id": 0}, {"$unset": {"_sync": 1}})
    mongo.accounts.update_one({"account_id": 1}, {"$set": {"limit": -1}})
    mongo.accounts.delete_one({"account_id": 2})
    mongo.accounts.insert_one({"_id": "theirs"})
    assert len(kinds()) == 4
    repair()
    assert differences(Account, mongo) == []
    assert kinds() == {}


# --- a second deployment --------------------------------------------------------------------------------------------


def test_writes_of_a_second_deployment_are_detected_and_repaired(
    accounts: list[Account], mongo: Database, tmp_path: Path
) -> None:
    second = script(
        "sync.tests.support.scripts.second_deployment", accounts[1].pk,
        DATABASE_URL=f"sqlite:///{tmp_path}/second.sqlite3", VAR_DIR=str(tmp_path),
        DJANGO_SETTINGS_MODULE="analytics_site.settings", MONGODB_URI=SERVERS.mongo.uri("analytics_test"),
        SYNC_INLINE_TIMEOUT="2.9",
    )  # fmt: skip
    assert finished(second, 200).status == 0
    assert mongo.accounts.find_one({"_id": ObjectId(accounts[1].pk)})["limit"] == 999
    assert kinds() == {accounts[1].pk: "different", "b" * 24: "extra"}
    accounts[1].save()
    assert mongo.accounts.find_one({"_id": ObjectId(accounts[1].pk)})["limit"] == 1000
    confirm()
    repair()
    assert differences(Account, mongo) == []


# --- restored dumps -------------------------------------------------------------------------------------------------

TABLES = ("finance_account", "sync_change")


def dump_sql() -> dict[str, tuple[list[str], list[Any]]]:
    """Dump the rows and the pending changes."""
    dumped = {}
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT * FROM {table}")
            dumped[table] = [column[0] for column in cursor.description], list(cursor.fetchall())
    return dumped


def restore_sql(dumped: dict[str, tuple[list[str], list[Any]]]) -> None:
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        for table, (names, values) in dumped.items():
            cursor.execute(f"DELETE FROM {table}")
            places = ", ".join(["%s"] * len(names))
            cursor.executemany(f"INSERT INTO {table} ({', '.join(map(quote, names))}) VALUES ({places})", values)


def change_everything(accounts: list[Account]) -> Account:
    """Change one row, delete one, and create and return one. The third account stays unchanged."""
    Account.objects.filter(pk=accounts[0].pk).update(limit=5)
    accounts[1].delete()
    return Account.objects.create(account_id=9, limit=9)


@pytest.mark.parametrize("confirmed", [True, False])
def test_rows_restored_from_an_older_dump_prevail(confirmed: bool, accounts: list[Account], mongo: Database) -> None:
    gone = accounts[1].pk
    accounts[2].limit = 8
    accounts[2].save()  # its change is in the dump
    dumped = dump_sql()
    new = change_everything(accounts)
    if confirmed:
        confirm()
        confirm()
    restore_sql(dumped)
    confirm()
    assert kinds() == {accounts[0].pk: "different", gone: "missing", new.pk: "extra"}
    call_command("sync", "backfill", "account")
    assert differences(Account, mongo) == [new.pk]
    repair()
    assert differences(Account, mongo) == []
    assert rows(Account)[accounts[0].pk]["limit"] == 1000
    Account.objects.update(limit=3)
    assert differences(Account, mongo) == []


@pytest.mark.parametrize("confirmed", [True, False])
def test_documents_restored_from_an_older_dump_are_repaired(
    confirmed: bool, accounts: list[Account], mongo: Database
) -> None:
    gone = accounts[1].pk
    dumped = list(mongo.accounts.find())  # including their old _sync
    new = change_everything(accounts)
    if confirmed:
        confirm()
        confirm()
    mongo.accounts.drop()
    mongo.accounts.insert_many(dumped)
    if confirmed:
        assert kinds() == {accounts[0].pk: "different", gone: "extra", new.pk: "missing"}
        repair()
    else:
        confirm()  # a relay delivers unconfirmed changes again on its own
    assert differences(Account, mongo) == []
    confirm()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


# --- clocks ---------------------------------------------------------------------------------------------------------


def version(mongo: Database, number: int = 0) -> int:
    return mongo.accounts.find_one({"account_id": number})["_sync"]["v"]


def test_versions_increase_even_if_the_deliverers_clock_goes_back(
    accounts: list[Account], mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = version(mongo)
    monkeypatch.setattr(mongo_writer.time, "time_ns", lambda: 10**15)
    accounts[0].limit = 9
    accounts[0].save()
    assert version(mongo) == before + 1
    assert differences(Account, mongo) == []


def test_versions_from_the_future_do_not_block_deliveries(
    accounts: list[Account], mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of a deliverer was years ahead and has been corrected."""
    with monkeypatch.context() as ahead:
        future = time.time_ns() + 10 * 365 * 86400 * 10**9
        ahead.setattr(mongo_writer.time, "time_ns", lambda: future)
        Account.objects.update(limit=1)
    assert version(mongo) > time.time_ns() // 1000 + 10**14
    before = version(mongo)
    accounts[0].limit = 2
    accounts[0].save()
    assert version(mongo) == before + 1
    key = accounts[1].pk
    accounts[1].delete()
    Account.objects.create(id=key, account_id=1, limit=3)
    assert version(mongo, 1) < before, "a recreated document gets a version from the correct clock"
    accounts[2].delete()
    for _ in range(3):
        confirm()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_jump_of_mongodbs_clock_does_not_affect_deliveries(
    jump: int, accounts: list[Account], mongo: Database
) -> None:
    """The process read the server's time before the jump."""
    clock().after(0)
    clock().server_time -= timedelta(seconds=jump)
    make(7).save()
    assert differences(Account, mongo) == [], "an insert rejected as late is retried with the new time"
    Account.objects.filter(account_id__lt=2).delete()
    for _ in range(3):
        confirm()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()
