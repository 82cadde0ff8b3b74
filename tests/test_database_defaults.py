"""Other programs insert rows by SQL and name only the columns that they know. The database fills in the rest."""

import datetime
from typing import Any

import bson
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, connection, models
from django.test.utils import CaptureQueriesContext
from pymongo.database import Database

from examples.news.models import Story
from finance.models import Account, Customer, Transaction
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.follow import following, grant, revoke, sql

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

MOMENT = "2001-02-03 04:05:06"
BORN = datetime.datetime(2001, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
# For each model: the columns that a program knows, and the values that the database adds to the document.
KNOWN: dict[type[models.Model], tuple[dict[str, Any], dict[str, Any]]] = {
    Account: ({"account_id": 7, "limit": 9}, {"products": []}),
    Customer: (
        {"username": "ada", "name": "Ada", "birthdate": MOMENT},
        {"birthdate": BORN, "address": "", "email": "", "accounts": [], "tier_and_details": {}},
    ),
    Transaction: (
        {"account_id": 7, "transaction_count": 0, "bucket_start_date": MOMENT, "bucket_end_date": MOMENT},
        {"bucket_start_date": BORN, "bucket_end_date": BORN, "transactions": []},
    ),
    Story: (
        {"id": "1", "href": "h", "title": "News", "submit_date": 0, "media": "m", "link": "l", "status": "s"},
        {"comments": 0, "diggs": 0, "description": "", "container": {}, "topic": {}, "user": {}, "shorturl": []},
    ),
}


def insert(table: type[models.Model], /, **values: Any) -> None:
    names = ", ".join(connection.ops.quote_name(name) for name in values)
    marks = ", ".join(["%s"] * len(values))
    sql(f"INSERT INTO {table._meta.db_table} ({names}) VALUES ({marks})", *values.values())


def stored(model: type[models.Model], *names: str) -> tuple[Any, ...]:
    columns = ", ".join(connection.ops.quote_name(name) for name in names)
    [row] = sql(f"SELECT {columns} FROM {model._meta.db_table}")
    return row


def needs_another(model: type[models.Model]) -> bool:
    """Whether a row must name one of another table, so that no insert into this table alone is possible."""
    return any(field.is_relation and not field.null for field in model._meta.local_concrete_fields)


def test_every_model_default_has_a_database_default() -> None:
    """Each field of a mirrored model (except the tests' own) with a default in Python also has one in the database."""
    mirrored = [model for model in apps.get_models() if hasattr(model, "mirror") and ".tests." not in model.__module__]
    assert {model for model in mirrored if not needs_another(model)} == set(KNOWN), "KNOWN must name the others"
    for model in mirrored:
        for field in model._meta.local_concrete_fields:
            if isinstance(field, models.AutoField):  # the database generates it
                continue
            optional = field.has_default() or field.blank or field.null
            assert field.has_db_default() or field.null or not optional, f"{field} needs a db_default"
            assert not field.has_db_default() or field.has_default(), f"{field} also needs a default"


@pytest.mark.parametrize("model", KNOWN, ids=lambda model: model.__name__)
def test_an_insert_of_only_the_required_columns_is_delivered(mongo: Database, model: Any) -> None:
    known, filled_in = KNOWN[model]
    insert(model, **known)
    (key,) = stored(model, "_id")
    assert bson.ObjectId.is_valid(key)
    assert key == key.lower()
    call_command("sync", "backfill", model._meta.label_lower)
    [document] = mongo[model.mirror.collection].find()
    del document["_sync"]
    assert document == known | filled_in | {"_id": bson.ObjectId(key)}


def test_an_insert_with_a_key_of_its_own_keeps_it(mongo: Database) -> None:
    insert(Account, _id="5ca4bbc7a2dd94ee5816238c", account_id=7, limit=9)
    assert stored(Account, "_id", "extra", "products") == ("5ca4bbc7a2dd94ee5816238c", "{}", "[]")


def test_each_row_of_one_insert_gets_a_key_of_its_own() -> None:
    limit = connection.ops.quote_name("limit")
    for _ in range(3):
        rows = ", ".join(f"({number}, 1)" for number in range(300))
        sql(f"INSERT INTO finance_account (account_id, {limit}) VALUES {rows}")
    keys = {key for (key,) in sql("SELECT _id FROM finance_account")}
    assert len(keys) == 900
    assert all(bson.ObjectId.is_valid(key) for key in keys)


def test_a_key_made_by_the_database_contains_its_creation_time() -> None:
    if connection.vendor != "mysql":
        pytest.skip("SQLite's keys are entirely random")
    insert(Account, account_id=7, limit=9)
    (key,) = stored(Account, "_id")
    age = datetime.datetime.now(datetime.UTC) - bson.ObjectId(key).generation_time
    assert abs(age) < datetime.timedelta(minutes=1)


def test_columns_can_be_set_back_to_their_defaults(mongo: Database) -> None:
    """Other programs do this with UPDATE ... SET x = DEFAULT, also under a lax sql_mode."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no SET x = DEFAULT")
    account = Account.objects.create(account_id=7, limit=9, products=["Brokerage"], extra={"a": 1})
    for mode in ("", "STRICT_ALL_TABLES"):
        Account.objects.update(products=["Brokerage"], extra={"a": 1})
        sql("SET SESSION sql_mode = %s", mode)
        try:
            sql("UPDATE finance_account SET products = DEFAULT, extra = DEFAULT")
        finally:
            connection.close()
        assert stored(Account, "products", "extra") == ("[]", "{}")
    call_command("sync", "backfill", "finance.account")
    [document] = mongo.accounts.find()
    assert (document["_id"], document["products"]) == (bson.ObjectId(account.pk), [])
    assert "a" not in document


def test_a_lax_insert_without_columns_gives_a_readable_row(mongo: Database) -> None:
    """Without strict mode, a column without a default becomes 0 or empty. Document columns still hold a document."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no lax mode")
    sql("SET SESSION sql_mode = ''")
    try:
        sql("INSERT INTO finance_account () VALUES ()")
        sql("INSERT INTO finance_account (products, extra) VALUES (DEFAULT, DEFAULT)")
    finally:
        connection.close()
    assert [row.to_document()["products"] for row in Account.objects.all()] == [[], []]


def test_a_change_inserted_by_sql_is_delivered(mongo: Database) -> None:
    """Another program requests a delivery this way. Only the model and the key are required."""
    insert(Account, account_id=7, limit=9)
    (key,) = stored(Account, "_id")
    insert(Change, model="finance.account", key=key)
    change = Change.objects.get()
    assert abs(datetime.datetime.now(datetime.UTC) - change.recorded_at) < datetime.timedelta(minutes=1)
    Relay().drain()
    assert mongo.accounts.find_one({"account_id": 7})["_id"] == bson.ObjectId(key)
    assert not Change.objects.exists()


def test_a_save_does_not_read_its_values_back() -> None:
    """Django asks the database to return every column with a default. For a bucket that could be megabytes."""
    with CaptureQueriesContext(connection) as queries:
        Transaction.objects.create(account_id=1, transaction_count=0, bucket_start_date=BORN, bucket_end_date=BORN)
    [inserted] = [query["sql"] for query in queries if "INSERT INTO" in query["sql"] and "_transaction" in query["sql"]]
    assert "transactions" not in inserted.partition("RETURNING")[2]


def test_a_database_with_rows_is_upgraded(mongo: Database) -> None:
    before = [("finance", "0003"), ("sync", "0003"), ("news", "0001")]
    account = Account.objects.create(account_id=1, limit=2, products=["Brokerage"], extra={"a": 1})
    try:
        for app, name in before:
            call_command("migrate", app, name, verbosity=0)
        with pytest.raises(DatabaseError):
            insert(Account, account_id=7, limit=9)
    finally:
        for app, _name in before:
            call_command("migrate", app, verbosity=0)
    insert(Account, account_id=7, limit=9)
    assert Account.objects.get(account_id=7).extra == {}
    assert Account.objects.get(pk=account.pk).products == ["Brokerage"]


@pytest.fixture
def _binary_log() -> Any:
    grant()
    yield
    revoke()


@pytest.mark.usefixtures("_binary_log")
def test_the_follower_delivers_values_filled_in_by_the_database(mongo: Database) -> None:
    with following(and_relaying=True) as follower:
        for model, (known, _filled_in) in KNOWN.items():
            insert(model, **known)
        for model, (known, filled_in) in KNOWN.items():
            collection = mongo[model.mirror.collection]  # type: ignore[attr-defined]
            follower.until(lambda: collection.find_one())  # noqa: B023
            [document] = collection.find()
            del document["_sync"]
            assert document == known | filled_in | {"_id": bson.ObjectId(stored(model, "_id")[0])}
