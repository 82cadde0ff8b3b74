"""Saving a form without edits changes nothing: no byte of the row or of its document, and no log.

Hypothesis generates the rows. Raw SQL stores them, as another program would, and the form is submitted as a browser
does it. FORM_EXAMPLES sets the number of rows; a failure prints the row and how to reproduce it.
"""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

import pytest
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pymongo.database import Database

from accounts.models import User
from audit.models import Entry
from finance.models import Account, Customer, Transaction
from finance.record_types import RECORD_TYPES
from sync.outbox.models import Change
from tests.browser_forms import edit_form

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]

EXAMPLES = int(os.environ.get("FORM_EXAMPLES", "250"))
AS_MANY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Characters and words that forms, browsers or users treat specially. TEXT also has all of Unicode.
SPECIAL = st.sampled_from(
    [
        "\r\n",
        "\r",
        "\n",
        " ",
        "\t",
        "\0",
        "\u00a0",
        "\u200b",
        "\u202e",
        "\ufeff",
        "e\u0301",
        "\u00e9",
        "\U0001f600",
        "\u2028",
        "\x7f",
        "\x1b",
        "&",
        "<",
        '"',
        "'",
        "=1",
        "\ufffd",
        "ﬁ",
        "İ",
        "\\",
        "{{",
        "None",
    ]
)
TEXT = st.lists(SPECIAL | st.characters(codec="utf-8"), max_size=8).map("".join)
INT32 = st.integers(-(2**31), 2**31 - 1)
EXTENDED = st.sampled_from(
    [
        {"$numberLong": "5"},
        {"$numberInt": "5"},
        {"$numberDouble": "5.0"},
        {"$numberDouble": "NaN"},
        {"$numberDouble": "-0.0"},
        {"$numberDouble": "Infinity"},
        {"$numberDecimal": "1.50"},
        {"$numberDecimal": "NaN"},
        {"$numberDecimal": "1E+6111"},
        {"$date": "2020-01-31T01:02:03.004Z"},
        {"$date": {"$numberLong": "-62135596800000"}},
        {"$date": {"$numberLong": "999999999999999"}},
        {"$oid": "5ca4bbc7a2dd94ee5816238c"},
        {"$binary": {"base64": "AA==", "subType": "04"}},
        {"$timestamp": {"t": 1, "i": 2}},
        {"$regularExpression": {"pattern": "a", "options": "i"}},
        {"$minKey": 1},
        {"$uuid": "c8edabc3-f738-4ca3-b68d-ab92a91478a3"},
        {"$undefined": True},
        {"$unknown": 1},
    ]
)
LEAF = st.none() | st.booleans() | INT32 | st.integers(-(10**25), 10**25) | st.floats(-1e308, 1e308) | TEXT | EXTENDED
KEY = TEXT.filter(lambda key: not key.startswith("$") and "\0" not in key)
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3))


def stored(values: Any) -> Any:
    """The text of a JSON column, with or without spaces and escapes, because programs write JSON differently."""
    return st.builds(
        lambda value, ascii_only, separators: json.dumps(value, ensure_ascii=ascii_only, separators=separators),
        values,
        st.booleans(),
        st.sampled_from([(", ", ": "), (",", ":"), (" ,  ", " :\n")]),
    ) | st.sampled_from(["[1.50, 1e2, 100]", '{"b": 1, "a": 2}', "null", "[]", "{}", '"\\ud800"', "1e400"])


MOMENT = st.datetimes(min_value=datetime.datetime(1000, 1, 1)).map(lambda moment: moment.isoformat(" "))
TRADE = st.fixed_dictionaries(
    {}, optional={"date": EXTENDED | TEXT, "amount": LEAF, "symbol": LEAF, "price": LEAF, "total": LEAF, "x": JSON}
)
TIER = st.fixed_dictionaries({"tier": LEAF, "active": LEAF, "benefits": st.lists(TEXT, max_size=3) | LEAF})
COLUMNS: dict[Any, dict[str, Any]] = {
    Account: {"account_id": INT32, "limit": INT32, "products": stored(st.lists(TEXT, max_size=4) | JSON)},
    Customer: {
        "username": TEXT,
        "name": TEXT,
        "address": TEXT,
        "email": TEXT,
        "birthdate": MOMENT,
        "active": st.sampled_from([None, 0, 1, 2]),
        "accounts": stored(st.lists(INT32, max_size=3) | JSON),
        "tier_and_details": stored(st.dictionaries(KEY, TIER, max_size=2) | JSON),
    },
    Transaction: {
        "account_id": INT32,
        "transaction_count": INT32,
        "bucket_start_date": MOMENT,
        "bucket_end_date": MOMENT,
        "transactions": stored(st.lists(TRADE, max_size=3) | JSON),
    },
    User: {
        "first_name": TEXT,
        "last_name": TEXT,
        "address": TEXT,
        "username": TEXT,
        "role": st.sampled_from(["", "customer"]),
        "is_staff": st.sampled_from([0, 1, 2, -1]),
        "password": TEXT,
        "date_joined": MOMENT,
        "email": TEXT | st.none(),
    },
}
ROW = st.sampled_from([kind.model for kind in RECORD_TYPES] * 3 + [User]).flatmap(
    lambda model: st.tuples(
        st.just(model),
        st.fixed_dictionaries(COLUMNS[model] | ({} if model is User else {"extra": stored(st.just({}) | JSON)})),
    )
)


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "secret"))
    return client


def in_sql(model: Any, pk: Any) -> Any:
    """The bytes of each column, in hex."""
    columns = [connection.ops.quote_name(field.column) for field in model._meta.concrete_fields]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(f'HEX({column})' for column in columns)} "
            f"FROM {connection.ops.quote_name(model._meta.db_table)} "
            f"WHERE {connection.ops.quote_name(model._meta.pk.column)} = %s",
            [pk],
        )
        return cursor.fetchone()


MOMENT_0 = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
MINIMUM: dict[Any, dict[str, Any]] = {
    Account: {"account_id": 1, "limit": 1},
    Customer: {"birthdate": MOMENT_0},
    Transaction: {
        "account_id": 1,
        "transaction_count": 0,
        "bucket_start_date": MOMENT_0,
        "bucket_end_date": MOMENT_0,
    },
    User: {"username": "somebody"},
}


def store(model: Any, values: dict[str, Any]) -> Any:
    """Stores a row with these values, unknown to the mirror; its key."""
    [row] = QuerySet(model).bulk_create([model(**MINIMUM[model])])
    pk = row.pk or model.objects.get(username="somebody").pk
    columns = {model._meta.get_field(name).column: value for name, value in values.items()}
    quoted = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quoted(model._meta.db_table)} SET {', '.join(f'{quoted(name)} = %s' for name in columns)} "
            f"WHERE {quoted(model._meta.pk.column)} = %s",
            [*columns.values(), pk],
        )
    return pk


def address(model: Any, pk: Any, place: str) -> str:
    if place == "portal":
        return reverse(f"finance:{model._meta.model_name}_edit", args=[pk])
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/{pk}/change/"


def everything(model: Any, pk: Any, mongo: Database) -> Any:
    """All that must not change: the row, its document, the pending changes and the logs."""
    raw = mongo.get_collection(
        model.mirror.collection if hasattr(model, "mirror") else "none",
        codec_options=mongo.codec_options.with_options(document_class=RawBSONDocument),
    )
    document = raw.find_one({"_id": ObjectId(pk)}) if hasattr(model, "mirror") else None
    counts = [each.objects.count() for each in (Change, Entry, LogEntry)]
    return in_sql(model, pk), document and document.raw, counts


@AS_MANY
@given(
    row=ROW, place=st.sampled_from(["portal", "admin"]), document=st.dictionaries(KEY.filter(bool), TEXT, max_size=2)
)
def test_saving_an_unedited_form_changes_nothing(
    root: Client, mongo: Database, row: Any, place: str, document: dict[str, Any]
) -> None:
    model, values = row
    place = "admin" if model is User else place
    User.objects.exclude(username="root").delete()  # their usernames and email addresses are unique
    try:
        with transaction.atomic():
            pk = store(model, values)
    except DatabaseError:
        assume(False)
    if model is not User:
        mongo[model.mirror.collection].insert_one({**document, "_id": ObjectId(pk)})
    before = everything(model, pk, mongo)
    page = root.get(address(model, pk, place))
    assert page.status_code == 200
    answer = root.post(address(model, pk, place), edit_form(page.content.decode()).sent)
    assert answer.status_code == 302, answer.content.decode()
    assert everything(model, pk, mongo) == before
