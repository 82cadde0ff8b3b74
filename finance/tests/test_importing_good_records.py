"""What the import stores, and what it leaves alone."""

import datetime

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from django.contrib.auth import get_user_model

from finance.models import Account, Customer
from finance.tests.files import account, load, to_line, write
from sync.outbox.models import Change

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]
CUSTOMER = {
    "_id": ObjectId("5ca4bbcea2dd94ee58162a68"),
    "username": "anna",
    "name": "Anna Blum",
    "address": "9 Long Road\nOxford",
    "birthdate": datetime.datetime(1954, 3, 2, 1, 2, 3, 4000, tzinfo=datetime.UTC),
    "email": "anna@example.com",
    "accounts": [371138],
    "tier_and_details": {},
}


def test_it_keeps_fields_that_the_model_does_not_have(tmp_path):
    extras = {"note": None, "nested": {"a": Int64(1), "b": [1, 1.0, Decimal128("1.10")]}, "$": None}
    extras.pop("$")
    document = account() | extras
    assert load(write(tmp_path / "a.json", to_line(document)))[0] == {"created": 1}
    kept = Account.objects.get().to_document()
    assert bson.encode(kept) == bson.encode(document)


@pytest.mark.parametrize("active", [{}, {"active": None}, {"active": True}, {"active": False}], ids=str)
def test_it_distinguishes_missing_fields_null_and_values(tmp_path, active):
    document = CUSTOMER | active
    assert load(write(tmp_path / "c.json", to_line(document)), "customer")[0] == {"created": 1}
    assert Customer.objects.get().to_document() == document
    assert load(tmp_path / "c.json", "customer")[0] == {"unchanged": 1}


def test_it_updates_only_changed_rows(tmp_path):
    load(write(tmp_path / "a.json", "\n".join(to_line(account(number)) for number in (1, 2, 3))))
    Change.objects.all().delete()
    changed = account(2, limit=1), account(3), account(4)
    counts, _ = load(write(tmp_path / "a.json", "\n".join(map(to_line, changed))))
    assert counts == {"created": 1, "updated": 1, "unchanged": 1}
    assert set(Change.objects.values_list("key", flat=True)) == {f"{number:024x}" for number in (2, 4)}
    assert Account.objects.get(account_id=2).limit == 1


def test_it_detects_a_change_of_type_alone(tmp_path):
    load(write(tmp_path / "a.json", to_line(account(note=5))))
    assert load(write(tmp_path / "a.json", to_line(account(note=Int64(5)))))[0] == {"updated": 1}
    assert type(Account.objects.get().extra["note"]) is Int64


def test_it_leaves_the_user_of_a_customer_alone(tmp_path):
    user = get_user_model().objects.create_user("anna", "anna@example.com")
    load(write(tmp_path / "c.json", to_line(CUSTOMER)), "customer")
    Customer.objects.update(user=user)
    assert load(tmp_path / "c.json", "customer")[0] == {"unchanged": 1}
    assert load(write(tmp_path / "c.json", to_line(CUSTOMER | {"name": "Anna B."})), "customer")[0] == {"updated": 1}
    assert (Customer.objects.get().user, Customer.objects.get().name) == (user, "Anna B.")


def test_it_accepts_an_export_of_mirrored_documents(tmp_path):
    document = account() | {"_sync": {"v": Int64(7)}}
    assert load(write(tmp_path / "a.json", to_line(document)))[0] == {"created": 1}
    assert Account.objects.get().extra == {}


def test_it_accepts_relaxed_extended_json(tmp_path):
    line = (
        '{"_id":{"$oid":"5ca4bbcea2dd94ee58162a68"},"username":"anna","name":"Anna","address":"","email":"",'
        '"birthdate":{"$date":"1954-03-02T01:02:03.004Z"},"accounts":[1],"tier_and_details":{},"big":3000000000}'
    )
    assert load(write(tmp_path / "c.json", line), "customer")[0] == {"created": 1}
    assert Customer.objects.get().birthdate == CUSTOMER["birthdate"]
    assert load(tmp_path / "c.json", "customer")[0] == {"unchanged": 1}


def test_it_writes_in_batches(tmp_path, django_assert_max_num_queries):
    write(tmp_path / "a.json", "\n".join(to_line(account(number)) for number in range(1, 101)))
    with django_assert_max_num_queries(2 * 9):
        load(tmp_path / "a.json", batch=50)
    with django_assert_max_num_queries(2 * 3):
        assert load(tmp_path / "a.json", batch=50)[0] == {"unchanged": 100}
