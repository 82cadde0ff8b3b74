"""Creating, editing and deleting records. Forms set only their own fields, detect conflicts and confirm deletions."""

import datetime
import json

import pytest
from bson import ObjectId
from django.urls import reverse

from finance.models import Account, Customer, Transaction
from finance.tests.people import DAY, customer, user

pytestmark = pytest.mark.django_db
TIERS = {"x": {"tier": "Gold", "id": "x", "active": True, "benefits": ["sports tickets"]}}
TRADE = '{"date": {"$date": "2020-01-%sT00:00:00Z"}, "amount": 1, "transaction_code": "buy", "symbol": "sap", "price": "1", "total": "1"}'  # noqa: E501
ANNA = {
    "username": "anna", "name": "Anna", "email": "anna@example.com", "address": "1 Road", "birthdate": "1990-02-03",
    "active": "true", "accounts": "1, 2", "tier_and_details": json.dumps(TIERS),
}  # fmt: skip


@pytest.fixture
def technician(client):
    client.force_login(user("technician"))
    return client


def address(name, record=None):
    return reverse(f"finance:{name}", args=[record.pk] if record else [])


@pytest.fixture
def post(technician):
    """Sends a form like a browser, with the version from the page unless the test gives another."""

    def send(name, record=None, /, **data):
        where = address(name, record)
        version = technician.get(where, {"edit": "json"}).context["form"].initial.get("version", "")
        return technician.post(where, {"version": version} | data)

    return send


def errors(response):
    return set(response.context["form"].errors)


# --- creating -------------------------------------------------------------------------------------------------------


def test_an_account_can_be_created(post):
    response = post("account_create", account_id=7, limit=5, products=["Brokerage"])
    account = Account.objects.get()
    assert response.url == account.get_absolute_url()
    assert (account.account_id, account.limit, account.products) == (7, 5, ["Brokerage"])


def test_a_customer_can_be_created(post):
    post("customer_create", **ANNA)
    record = Customer.objects.get()
    assert (record.username, record.accounts, record.tier_and_details, record.active) == ("anna", [1, 2], TIERS, True)
    assert record.birthdate == datetime.datetime(1990, 2, 3, tzinfo=datetime.UTC)
    assert record.user is None


def test_a_new_bucket_of_trades_gets_its_count_and_period(post):
    post("transaction_create", account_id=7, transactions=f"[{TRADE % '09'}, {TRADE % '02'}]")
    bucket = Transaction.objects.get()
    assert bucket.transaction_count == 2
    assert (bucket.bucket_start_date, bucket.bucket_end_date) == (DAY, DAY + datetime.timedelta(7))
    assert bucket.transactions[0]["date"] == DAY + datetime.timedelta(7)


@pytest.mark.django_db(transaction=True)
def test_creating_editing_and_deleting_reach_mongodb(post, mongo):
    post("account_create", account_id=7, limit=5, products=[])
    account = Account.objects.get()
    assert mongo.accounts.find_one({"_id": ObjectId(account.pk)})["limit"] == 5
    post("account_edit", account, limit=6, products=["Brokerage"])
    assert mongo.accounts.find_one({"_id": ObjectId(account.pk)})["products"] == ["Brokerage"]
    post("account_delete", account)
    assert mongo.accounts.count_documents({}) == 0


WRONG = [
    ("account", {"account_id": 1, "limit": 5}, "account_id"),  # already exists
    ("account", {"account_id": 2**31, "limit": 5}, "account_id"),
    ("account", {"account_id": "", "limit": 5}, "account_id"),
    ("account", {"account_id": 7, "limit": -1}, "limit"),
    ("account", {"account_id": 7, "limit": 5, "products": ["Gold bars"]}, "products"),
    ("customer", ANNA | {"username": ""}, "username"),
    ("customer", ANNA | {"name": "x" * 201}, "name"),
    ("customer", ANNA | {"email": "anna"}, "email"),
    ("customer", ANNA | {"birthdate": "1890-01-01"}, "birthdate"),
    ("customer", ANNA | {"birthdate": "2999-01-01"}, "birthdate"),
    ("customer", ANNA | {"accounts": "1, two"}, "accounts"),
    ("customer", ANNA | {"accounts": "9" * 5000}, "accounts"),
    ("customer", ANNA | {"accounts": "1," * 2000}, "accounts"),
    ("customer", ANNA | {"tier_and_details": "{"}, "tier_and_details"),
    ("customer", ANNA | {"tier_and_details": "[]"}, "tier_and_details"),
    ("customer", ANNA | {"tier_and_details": '{"$where": "sleep(1000)"}'}, "tier_and_details"),
    ("customer", ANNA | {"tier_and_details": '{"a": {"$gt": ""}}'}, "tier_and_details"),
    ("customer", ANNA | {"tier_and_details": '{"a": {"tier": 5}}'}, "tier_and_details"),
    ("transaction", {"account_id": 7, "transactions": "[]"}, "transactions"),
    ("transaction", {"account_id": 7, "transactions": ""}, "transactions"),
    ("transaction", {"account_id": 7, "transactions": '[{"symbol": "sap"}]'}, "transactions"),
    ("transaction", {"account_id": 7, "transactions": '[{"date": "2020-01-01"}]'}, "transactions"),
    ("transaction", {"account_id": 7, "transactions": '[{"price": {"$ne": 1}}]'}, "transactions"),
    ("transaction", {"account_id": 7, "transactions": "[" * 5000}, "transactions"),
]


@pytest.mark.parametrize(("kind", "data", "field"), WRONG, ids=lambda value: str(value)[:40])
def test_an_invalid_value_is_reported_at_its_field(post, kind, data, field):
    Account.objects.create(account_id=1, limit=1, products=[])
    before = [model.objects.count() for model in (Account, Customer, Transaction)]
    response = post(f"{kind}_create", **data)
    assert response.status_code == 200
    assert field in errors(response)
    assert [model.objects.count() for model in (Account, Customer, Transaction)] == before


def test_fields_that_the_form_does_not_name_cannot_be_set(post):
    someone = user("nobody")
    forged = {"id": "0" * 24, "_id": "0" * 24, "pk": "0" * 24, "extra": '{"a": 1}', "user": someone.pk}
    post("customer_create", **ANNA, **forged)
    record = Customer.objects.get()
    assert (record.user, record.extra) == (None, {})
    assert record.pk != "0" * 24
    post("customer_edit", record, **ANNA | {"name": "Anne"}, **forged)
    record = Customer.objects.get()
    assert (record.name, record.user, record.extra) == ("Anne", None, {})


# --- editing --------------------------------------------------------------------------------------------------------


def test_an_edit_changes_only_the_edited_fields(post):
    record = customer("Anna", [1])
    Customer.objects.filter(pk=record.pk).update(
        birthdate=DAY + datetime.timedelta(hours=5), extra={"note": "x"}, active=None
    )
    data = ANNA | {"birthdate": "2020-01-02", "active": "unknown", "accounts": "1", "name": "Anne"}
    post("customer_edit", record, **data)
    record.refresh_from_db()
    assert record.name == "Anne"
    assert record.birthdate == DAY + datetime.timedelta(hours=5)
    assert (record.extra, record.active) == ({"note": "x"}, None)


@pytest.mark.django_db(transaction=True)
def test_an_unchanged_form_writes_nothing(technician, post, mongo):
    record = customer("Anna", [1])
    version = mongo.customers.find_one()["_sync"]["v"]
    form = technician.get(address("customer_edit", record), {"edit": "json"}).context["form"]
    data = {name: field.widget.format_value(form[name].value()) for name, field in form.fields.items()}
    response = post("customer_edit", record, **data)
    assert response.status_code == 302
    assert mongo.customers.find_one()["_sync"]["v"] == version


CHANGES = {
    "customer": (ANNA | {"name": "First"}, ANNA | {"name": "Second"}),
    "transaction": ({"transactions": f"[{TRADE % '03'}]"}, {"transactions": f"[{TRADE % '04'}]"}),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_the_second_editor_is_told_and_must_confirm_overwriting(technician, post, kind):
    customer("Anna", [1])
    model = {"customer": Customer, "transaction": Transaction}[kind]
    record = model.objects.get()
    stale = technician.get(address(f"{kind}_edit", record), {"edit": "json"}).context["form"].initial["version"]
    first, second = CHANGES[kind]
    assert post(f"{kind}_edit", record, **first).status_code == 302
    saved = model.objects.get().to_document()
    response = post(f"{kind}_edit", record, **second, version=stale)
    assert response.status_code == 409
    assert "Stored now" in response.content.decode()
    assert model.objects.get().to_document() == saved
    again = post(f"{kind}_edit", record, **second, version=response.context["form"]["version"].value())
    assert again.status_code == 302
    assert model.objects.get().to_document() != saved


def test_the_version_of_another_record_is_rejected(technician, post):
    one, two = (Account.objects.create(account_id=number, limit=1, products=[]) for number in (1, 2))
    version = technician.get(address("account_edit", one)).context["form"].initial["version"]
    assert post("account_edit", two, limit=5, version=version).status_code == 409


# --- deleting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["account", "customer", "transaction"])
def test_a_record_is_deleted_after_confirmation(technician, post, kind):
    customer("Anna", [1])
    model = {"account": Account, "customer": Customer, "transaction": Transaction}[kind]
    record = model.objects.get()
    page = technician.get(address(f"{kind}_delete", record))
    assert record.pk in page.content.decode()
    assert model.objects.exists(), "viewing the page deleted the record"
    response = post(f"{kind}_delete", record)
    assert response.url == address(f"{kind}_list")
    assert not model.objects.exists()
    assert technician.get(record.get_absolute_url()).status_code == 404


def test_a_record_changed_in_the_meantime_is_not_deleted(technician, post):
    account = Account.objects.create(account_id=1, limit=1, products=[])
    version = technician.get(address("account_delete", account)).context["form"].initial["version"]
    post("account_edit", account, limit=2)
    response = post("account_delete", account, version=version)
    assert response.status_code == 409
    assert "Another user changed this record" in response.content.decode()
    assert Account.objects.exists()
    assert post("account_delete", account, version=response.context["form"]["version"].value()).status_code == 302


@pytest.mark.parametrize("version", ["", "x", "é"])
def test_a_confirmation_without_the_displayed_version_is_rejected(post, version):
    account = Account.objects.create(account_id=1, limit=1, products=[])
    assert post("account_delete", account, version=version).status_code in (200, 409)
    assert Account.objects.exists()


@pytest.mark.parametrize("kind", ["account", "customer", "transaction"])
@pytest.mark.parametrize("action", ["create", "edit", "delete"])
def test_only_editors_can_open_forms(client, kind, action):
    owner = user("customer")
    customer("Anna", [1], linked=owner)
    model = {"account": Account, "customer": Customer, "transaction": Transaction}[kind]
    where = address(f"{kind}_{action}", None if action == "create" else model.objects.get())
    for person in (owner, user("manager"), user("nobody")):
        client.force_login(person)
        assert client.get(where).status_code == client.post(where, {}).status_code == 403
    assert model.objects.count() == 1
