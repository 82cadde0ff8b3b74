"""Demo data: plausible, exact, and the same for the same seed."""

import datetime
from decimal import Decimal, localcontext
from io import StringIO
from itertools import pairwise
from unittest import mock

import bson
import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from faker import Faker

from finance.demo import SYMBOLS, Demo
from finance.models import Account, Customer, Transaction
from sync.outbox.models import Change

SMALL = {"customers": 12, "trades": 900, "force": True}
TODAY = datetime.date(2026, 1, 5)


def load(**options):
    out = StringIO()
    call_command("load_demo", stdout=out, **SMALL | options)
    return out.getvalue()


def demo(customers=12, trades=900, seed=1):
    return Demo(Faker("en_US"), customers, trades, seed, TODAY)


def everything(made):
    rows = [*made.customer_rows(), *made.account_rows(), *made.transaction_rows()]
    return [bson.encode(row.to_document()) for row in rows]


def test_the_same_seed_gives_the_same_records():
    assert everything(demo()) == everything(demo())
    assert everything(demo()) != everything(demo(seed=2))


def test_more_customers_do_not_change_the_first_ones():
    few = [row.to_document() for row in demo(customers=5).customer_rows()]
    assert few == [row.to_document() for row in demo(customers=9).customer_rows()][:5]


@pytest.mark.parametrize(("customers", "trades"), [(1, 1), (1, 950), (60, 6000), (5, 0), (40, 3)])
def test_it_creates_the_requested_numbers(customers, trades):
    made = demo(customers, trades)
    buckets = list(made.transaction_rows())
    assert len(list(made.customer_rows())) == customers
    assert sum(bucket.transaction_count for bucket in buckets) == trades
    assert all(1 <= len(bucket.transactions) == bucket.transaction_count <= 100 for bucket in buckets)
    assert not trades or max(bucket.bucket_end_date for bucket in buckets).date() == TODAY


def test_trades_are_exact_and_prices_follow_a_random_walk():
    trades = [trade for bucket in demo(60, 6000).transaction_rows() for trade in bucket.transactions]
    assert {trade["symbol"] for trade in trades} == set(SYMBOLS)
    with localcontext(prec=200):
        assert all(Decimal(trade["price"]) * trade["amount"] == Decimal(trade["total"]) for trade in trades)
    assert max(len(trade["price"]) for trade in trades) > 40
    assert len({trade["date"].year for trade in trades}) > 10
    # Prices of a symbol are close to each other on neighbouring days, but not over the years.
    days = sorted((trade["date"], Decimal(trade["price"])) for trade in trades if trade["symbol"] == "ibm")
    steps = [abs(after[1] / before[1] - 1) for before, after in pairwise(days)]
    assert sorted(steps)[len(steps) // 2] < Decimal("0.15")


def test_all_rows_are_valid():
    made = demo()
    for row in (*made.customer_rows(), *made.account_rows(), *made.transaction_rows()):
        row.clean_fields()
        assert type(row).from_document(row.to_document()).to_document() == row.to_document()


@pytest.mark.engine
@pytest.mark.django_db(transaction=True)
def test_load_demo_fills_both_databases_and_links_the_demo_customer(mongo):
    out = load()
    assert "customers: 12 created" in out
    assert "MongoDB has it all." in out
    for model in (Account, Customer, Transaction):
        assert model.objects.count() == mongo[model.mirror.collection].count_documents({}) > 0
    user = get_user_model().objects.get(username="customer")
    assert len(user.customer.accounts) == 4
    assert Transaction.objects.visible_to(user).exists()
    assert get_user_model().objects.filter(username__in=["technician", "manager"]).count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_second_load_changes_nothing_even_on_another_day(mongo):
    with time_machine.travel("2026-03-01"):
        load()
    Change.objects.all().delete()
    versions = [document["_sync"] for document in mongo.transactions.find()]
    with time_machine.travel("2026-04-01"):
        out = load()
    assert out.count("0 created, 0 updated") == 3
    assert versions == [document["_sync"] for document in mongo.transactions.find()]
    assert not Change.objects.exists()


@pytest.mark.django_db
def test_a_link_made_by_staff_is_kept():
    load()
    user = get_user_model().objects.get(username="customer")
    other = Customer.objects.filter(user=None)[0]
    Customer.objects.filter(user=user).update(user=None)
    Customer.objects.filter(pk=other.pk).update(user=user)
    load()
    assert Customer.objects.get(user=user) == other


@pytest.mark.parametrize(
    ("options", "words"), [({"force": False}, "DEBUG is off"), ({"blocked": "faker"}, "requirements-demo.txt")]
)
def test_load_demo_refuses_with_a_one_line_message(options, words):
    blocked = options.pop("blocked", None)
    with mock.patch.dict("sys.modules", {blocked: None} if blocked else {}), pytest.raises(CommandError) as error:
        load(**options)
    assert error.value.returncode == 2
    assert words in str(error.value)


@pytest.mark.django_db
def test_a_real_user_with_the_name_of_a_demo_user_is_left_alone():
    get_user_model().objects.create_user("manager", "real@example.com", "secret")
    with pytest.raises(CommandError, match="manager is a real user") as error:
        load()
    assert error.value.returncode == 1
