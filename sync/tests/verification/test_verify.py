"""Verify finds every mismatch, including differences in type, and reports no change in flight as one."""

import datetime
import uuid
from typing import Any

import pytest
from bson import Int64, MaxKey, MinKey, ObjectId
from django.core.management import CommandError, call_command
from django.utils import timezone
from pymongo.database import Database

from finance.models import Account
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.diff import FieldDifference
from sync.mapping.registry import Target
from sync.outbox.models import Change
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.zoo.models import Tag, Typed
from sync.verification.scan import Scan
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def accounts(mongo: Database) -> list[Account]:
    accounts = [make(number) for number in range(5)]
    for account in accounts:
        account.save()
    confirm()
    return accounts


def found() -> dict[str, tuple[str, list[str]]]:
    """By key, the kind of mismatch and the fields in words."""
    return {
        difference.key: (difference.kind, [str(FieldDifference(**field)) for field in difference.fields])
        for difference in verify(Target(Account)).mismatches
    }


def test_databases_in_sync_have_no_mismatch(accounts: list[Account]) -> None:
    assert found() == {}
    assert verify(Target(Account)).compared == 5


def test_it_reports_missing_extra_and_different_documents(accounts: list[Account], mongo: Database) -> None:
    ids = [ObjectId(account.pk) for account in accounts]
    mongo.accounts.delete_one({"_id": ids[0]})
    mongo.accounts.insert_one({"_id": ObjectId("0" * 24), "account_id": 1})
    mongo.accounts.update_one({"_id": ids[1]}, {"$set": {"limit": Int64(1000)}})
    mongo.accounts.update_one({"_id": ids[2]}, {"$set": {"note": "by hand"}, "$unset": {"products": 1}})
    mongo.accounts.update_one({"_id": ids[3]}, {"$unset": {"_sync": 1}})
    mongo.accounts.update_one({"_id": ids[4]}, {"$set": {"limit": 1}})
    assert found() == {
        accounts[0].pk: ("missing", []),
        "0" * 24: ("extra", []),
        accounts[1].pk: ("type", ["limit is int64 instead of int32"]),
        accounts[2].pk: ("different", ["products missing", "note extra"]),
        accounts[3].pk: ("different", ["_sync missing"]),
        accounts[4].pk: ("different", ["limit"]),
    }


def test_a_field_added_by_hand_is_a_mismatch(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.update_one({"account_id": 0}, {"$set": {"note": "by hand"}})
    mongo.accounts.update_one({"account_id": 1}, {"$set": {"_sync.note": "by hand"}})
    mongo.accounts.update_one({"account_id": 2}, {"$set": {"_sync.v": "by hand"}})
    assert found() == {
        accounts[0].pk: ("different", ["note extra"]),
        accounts[1].pk: ("different", ["_sync.note extra"]),
        accounts[2].pk: ("different", ["_sync.v is string instead of int64"]),
    }


def test_documents_whose_id_cannot_be_a_key_are_extra(accounts: list[Account], mongo: Database) -> None:
    ids = ["no key of ours", "NO KEY of ours", 5, Int64(6), {"a": [1]}, None, accounts[0].pk, MinKey(), MaxKey(), True]
    ids += [uuid.UUID(int=7), "long " * 100, datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), b"bytes"]
    mongo.get_collection("accounts", CODEC_OPTIONS).insert_many([{"_id": _id, "account_id": 1} for _id in ids])
    differences = verify(Target(Account)).mismatches
    assert {difference.kind for difference in differences} == {"extra"}
    assert len(differences) == len(ids)
    assert any(difference.key.startswith('"no key of ours" [') for difference in differences)


def test_an_id_of_another_number_type_is_the_same_key(mongo: Database) -> None:
    tags = [Tag.objects.create(name=name) for name in "ab"]
    confirm()
    for tag in tags:
        document = mongo.zoo_tags.find_one_and_delete({"_id": tag.pk})
        mongo.zoo_tags.insert_one(
            {**document, "_id": tag.pk},  # int32, where the mirror writes int64
        )
    differences = verify(Target(Tag)).mismatches
    assert [(difference.key, difference.kind) for difference in differences] == [(str(tag.pk), "type") for tag in tags]


def test_fields_in_another_order_are_a_mismatch(accounts: list[Account], mongo: Database) -> None:
    document = mongo.accounts.find_one({"_id": ObjectId(accounts[0].pk)})
    mongo.accounts.replace_one({"_id": document["_id"]}, dict(reversed(document.items())))
    assert found() == {accounts[0].pk: ("order", ["order of fields"])}


def test_a_row_that_cannot_become_a_document_is_reported_with_the_reason(mongo: Database) -> None:
    Typed.objects.bulk_create([Typed(id=uuid.UUID(int=1), json={"$where": 1})])
    Typed.objects.create(id=uuid.UUID(int=2))
    Change.objects.update(failed=True)
    [difference] = verify(Target(Typed)).mismatches
    assert (difference.key, difference.kind) == (str(uuid.UUID(int=1)), "unmappable")
    assert "json: the key '$where' starts with" in str(difference)


def test_pending_changes_are_no_mismatch(accounts: list[Account], settings: Any) -> None:
    settings.SYNC_INLINE = False
    Account.objects.filter(account_id__lt=3).update(limit=1)
    accounts[4].delete()
    result = verify(Target(Account))
    assert result.mismatches == []
    assert result.pending == 4


def test_rows_that_a_backfill_has_yet_to_deliver_are_pending(accounts: list[Account], mongo: Database) -> None:
    mongo.accounts.delete_many({})
    keys = sorted(account.pk for account in accounts)
    Change.objects.create(model="finance.account", key="", until=keys[1], due_at=timezone.now())
    Change.objects.create(model="finance.account", key=keys[3], until=keys[4], due_at=timezone.now())
    Change.objects.create(model="finance.customer", key="", until=keys[4], due_at=timezone.now())
    result = verify(Target(Account))
    assert [difference.key for difference in result.mismatches] == keys[2:4]
    assert result.pending == 3


def test_a_failed_change_is_a_mismatch(accounts: list[Account], settings: Any) -> None:
    settings.SYNC_INLINE = False
    Account.objects.filter(account_id=1).update(limit=1)
    Change.objects.update(failed=True)
    assert found() == {accounts[1].pk: ("different", ["limit"])}


def test_a_key_written_between_two_checks_is_no_mismatch(
    accounts: list[Account], mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that toggles: at every check nothing is pending, and row and document have different values."""
    row = accounts[0]
    mongo.accounts.update_one({"_id": ObjectId(row.pk)}, {"$set": {"limit": 99}})  # a suspect at the first check
    read = Scan.documents

    def documents(scan: Scan, keys: Any) -> dict[str, bytes]:
        Account.objects.filter(pk=row.pk).update(limit=7)
        confirm()
        found = read(scan, keys)
        Account.objects.filter(pk=row.pk).update(limit=row.limit)
        confirm()
        return found

    monkeypatch.setattr(Scan, "documents", documents)
    result = verify(Target(Account))
    assert result.mismatches == []
    assert result.pending == 1


def test_an_unknown_model_is_a_usage_error(mongo: Database) -> None:
    with pytest.raises(CommandError, match=r"finance\.account") as error:
        call_command("sync", "verify", "nothing")
    assert error.value.returncode == 2
