"""A record's page: row and document, differences, pending changes, last delivery, and an unreachable MongoDB."""

import dataclasses
import datetime
from typing import Any

import pytest
from bson import ObjectId
from django.test import Client
from pymongo.database import Database

from finance.models import Account
from sync.outbox.models import Change
from sync.tests.support.factories import make
from sync.tests.support.people import VIEWER, user
from sync.tests.zoo.models import Bird, Keeper, Tag, Typed
from sync.verification.inspection import find_key, find_model, inspect
from tests.servers import Mongo

pytestmark = pytest.mark.django_db(transaction=True)

LABEL = "finance.account"


@pytest.fixture
def account(mongo: Database) -> Account:
    row = make(1, products=["Brokerage"])
    row.save()
    return row


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(user("vera", *VIEWER))
    return client


def text(client: Client, row: Any) -> str:
    return " ".join(client.get(f"/sync/record/{LABEL}/{row.pk}/").content.decode().split())


def test_it_shows_the_verdict_and_the_last_delivery(viewer: Client, account: Account, mongo: Database) -> None:
    page = text(viewer, account)
    document = mongo.accounts.find_one({"_id": ObjectId(account.pk)})
    written = datetime.datetime.fromtimestamp(document["_sync"]["v"] / 1e6, datetime.UTC)
    assert "In sync" in page
    assert f"{written:%H:%M:%S} UTC</time>" in page
    assert f"by delivery <code>{document['_sync']['by']}</code>" in page
    assert "≠" not in page
    assert f'href="/finance/accounts/{account.pk}/"' in page


def test_differences_are_marked(viewer: Client, account: Account, mongo: Database) -> None:
    mongo.accounts.update_one({}, {"$set": {"limit": "x", "products": ["<b>"], "alien": 1}})
    [side] = inspect(Account, account.pk).sides
    marked = {field.name: [str(each) for each in field.differences] for field in side.fields if field.differences}
    assert marked == {
        "limit": ["limit is string instead of int32"], "products": ["products.0"], "alien": ["alien extra"],
    }  # fmt: skip
    by_name = {field.name: (field.row, field.document) for field in side.fields}
    assert by_name["limit"] == ("1000", "x")
    assert by_name["alien"] == (None, "1")
    page = text(viewer, account)
    assert "Different" in page
    assert "&lt;b&gt;" in page


def test_a_row_or_a_document_may_be_missing(viewer: Client, account: Account, mongo: Database) -> None:
    mongo.accounts.delete_many({})
    assert "MongoDB has no document for this row." in text(viewer, account)
    mongo.accounts.insert_one({"_id": ObjectId(account.pk), "limit": 5})
    Account.objects.all()._raw_delete("default")
    page = text(viewer, account)
    assert "MySQL has no row for this document." in page
    assert "Not written by the mirror." in page


def test_pending_and_failed_changes_are_named(viewer: Client, account: Account) -> None:
    Change.objects.update(failed=True, attempts=5, error="MongoDB: <b>no</b>")
    page = text(viewer, account)
    assert "Failed" in page
    assert 'MongoDB: &lt;b&gt;no&lt;/b&gt; <span class="text-body-secondary"> (5 attempts)' in page
    Change.objects.all().delete()
    assert "No pending or failed changes." in text(viewer, account)


def test_a_row_that_cannot_be_a_document_is_shown_with_the_reason(
    viewer: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(row: Account) -> dict:
        raise KeyError("no such key")

    monkeypatch.setattr(Account, "to_document", broken)
    page = text(viewer, account)
    assert "The row cannot be converted to a document: &#x27;no such key&#x27;" in page
    assert "<dt>limit</dt>" in page


def test_while_mongodb_is_unreachable_it_shows_the_row(
    viewer: Client, account: Account, mongod: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.verification.inspection.TIMEOUT", 0.5)
    mongod.kill()
    page = text(viewer, account)
    assert "MongoDB does not respond" in page
    assert "Whether the document is in sync is unknown." in page
    assert "1000" in page
    assert ">In sync<" not in page
    frozen = viewer.get(f"/sync/record/{LABEL}/{'0' * 24}/")
    assert frozen.status_code == 200, "MongoDB may have a document"


def test_every_target_has_a_comparison(viewer: Client, mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = dataclasses.replace(Keeper.mirror, targets=("", "zoo_keepers_2", "kafka:keepers"))
    monkeypatch.setattr(Keeper, "mirror", mirror)
    row = Keeper.objects.create(name="Ada")
    found = inspect(Keeper, row.pk)
    assert [(side.target.name, side.has_document) for side in found.sides] == [("", True), ("zoo_keepers_2", False)]
    page = viewer.get(f"/sync/record/zoo.keeper/{row.pk}/").content.decode()
    assert "zoo_keepers_2" in page
    assert "Pending" in page


@pytest.mark.parametrize(
    ("model", "key", "found"),
    [
        (Account, "5CA4BBC7A2DD94EE58162391", "5ca4bbc7a2dd94ee58162391"), (Tag, "7", "7"),
        (Typed, "{12345678-1234-5678-1234-567812345678}", "12345678-1234-5678-1234-567812345678"),
        (Bird, "5ca4bbc7a2dd94ee58162391", "5ca4bbc7a2dd94ee58162391"),
    ],
)  # fmt: skip
def test_keys_are_normalized(model: Any, key: str, found: str) -> None:
    assert find_key(model, key) == found


@pytest.mark.parametrize(
    ("model", "key"), [(Account, ""), (Account, "1"), (Account, "{}"), (Tag, "x"), (Tag, "9" * 40), (Typed, "1")]
)
def test_an_invalid_key_is_rejected(model: Any, key: str) -> None:
    with pytest.raises(ValueError, match="is not a key of"):
        find_key(model, key)


def test_models_are_found_by_label_alone() -> None:
    assert find_model("finance.account") is Account
    for label in ("account", "Finance.Account", "finance.account@x", "sync.change", ""):
        with pytest.raises(LookupError):
            find_model(label)


def test_it_takes_few_queries(viewer: Client, account: Account, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(8):
        text(viewer, account)


def test_the_page_of_an_account_links_to_it_with_the_permission(client: Client, account: Account) -> None:
    from django.contrib.auth.models import Permission

    clerk = user("clerk")
    clerk.user_permissions.add(Permission.objects.get(codename="view_all"))
    client.force_login(clerk)
    link = f'href="/sync/record/{LABEL}/{account.pk}/"'
    assert link not in client.get(f"/finance/accounts/{account.pk}/").content.decode()
    clerk.user_permissions.add(Permission.objects.get(codename="view_record"))
    assert link in client.get(f"/finance/accounts/{account.pk}/").content.decode()
