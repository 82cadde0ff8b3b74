"""The customer dashboard: the customer's own accounts, holdings and trades, and nobody else's."""

import csv
import datetime
import io
from decimal import Decimal

import pytest
from bson import Decimal128
from django.urls import reverse

from finance import trades as trades_module
from finance.models import Transaction
from finance.portfolio import holdings
from finance.tests.people import DAY, customer, trade, user
from finance.trades import newest_trades, trades_of

pytestmark = [pytest.mark.quick, pytest.mark.django_db]
PAGE = "finance:customer_dashboard"


@pytest.fixture
def owner(client):
    owner = user("customer")
    client.force_login(owner)
    return owner


def bucket(number, *trades):
    dates = [item["date"] for item in trades]
    return Transaction.objects.create(
        account_id=number, transaction_count=len(trades), bucket_start_date=min(dates), bucket_end_date=max(dates),
        transactions=list(trades),
    )  # fmt: skip


def rows(response):
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def test_it_shows_accounts_tiers_trades_and_profile_with_few_queries(client, owner, django_assert_max_num_queries):
    customer("Anna", [4711, 4712], linked=owner)
    customer("Other", [9999])
    with django_assert_max_num_queries(7):
        text = client.get(reverse(PAGE)).content.decode()
    for words in ("4711", "4712", "9,000", "Brokerage", "Gold", "sports tickets", "tsla", "3.25", "anna@example.com"):
        assert words in text
    assert "9999" not in text


def test_a_customer_without_a_record_is_told_what_to_do(client, owner):
    response = client.get(reverse(PAGE))
    assert response.status_code == 200
    assert "Staff link your customer record" in response.content.decode()


def test_a_customer_without_accounts_or_trades_sees_what_to_do_instead_of_zeros(client, owner):
    customer("Anna", [], linked=owner)
    text = client.get(reverse(PAGE)).content.decode()
    assert "You have no account yet" in text
    assert "No trades yet" in text
    assert "<canvas" not in text


def test_holdings_are_purchases_minus_sales_at_the_last_price():
    later = DAY + datetime.timedelta(9)
    made = bucket(
        1,
        trade("adbe", DAY, "1") | {"amount": 10},
        trade("adbe", later, "3") | {"amount": 4, "transaction_code": "sell"},
        trade("sap", DAY, "1") | {"amount": 5, "price": "?"},
    )  # fmt: skip
    assert [(each.symbol, each.pieces, each.worth) for each in holdings(trades_of(made).trades)] == [
        ("adbe", 6, Decimal(18)), ("sap", 5, None),
    ]  # fmt: skip


def test_it_shows_the_latest_trades_and_where_all_are(client, owner):
    customer("Anna", list(range(1, 9)), linked=owner)
    response = client.get(reverse(PAGE))
    assert [row.record.symbol for row in response.context["trades"].rows] == ["tsla"] * 8 + ["adbe"] * 2
    assert f'<a href="{reverse("finance:own_trades")}">All trades</a>' in response.content.decode()


def test_it_does_not_relate_trades_to_a_limit(client, owner):
    """The data does not say what a limit limits."""
    customer("Anna", [1], linked=owner)
    text = client.get(reverse(PAGE)).content.decode()
    assert "9,000" in text
    assert "<meter" not in text
    assert "used" not in text


def test_charts_match_their_tables_and_csv(client, owner):
    record = customer("Anna", [1], linked=owner)
    charts = {chart.key: (chart, url) for chart, url in client.get(reverse(PAGE)).context["charts"]}
    chart, address = charts["value"]
    assert chart.drawn == {
        "shape": "bar", "labels": ["2020-01"],
        "series": [
            {"label": "Bought", "values": [27.5], "narrows": ""}, {"label": "Sold", "values": [0.0], "narrows": ""},
        ],
        "unit": "", "urls": (), "partial": [False],
    }  # fmt: skip
    assert rows(client.get(address)) == [{"When": "2020-01", "Bought": "27.5", "Sold": "0"}]
    assert address == reverse("finance:customer_chart", args=[record.pk, "value"])
    assert [row["Symbol"] for row in rows(client.get(charts["holdings"][1]))] == ["ADBE", "TSLA"]


def test_the_newest_trades_come_from_all_buckets():
    for number in range(30):
        bucket(
            number % 3, *(trade(f"s{number}", DAY + datetime.timedelta(days), "1") for days in (number, 99 - number))
        )
    buckets = Transaction.objects.filter(account_id__in=[0, 1])
    every = [trade for bucket in buckets for trade in trades_of(bucket).trades]
    found, complete, _unread = newest_trades([0, 1])
    assert complete
    assert found == sorted(every, key=lambda trade: trade.date, reverse=True)


def test_holdings_are_unknown_if_there_are_too_many_trades(client, owner, monkeypatch):
    monkeypatch.setattr(trades_module, "MOST_BUCKETS", 1)
    customer("Anna", [1, 2], linked=owner)
    text = client.get(reverse(PAGE)).content.decode()
    assert "You have more trades than this page can add up. Charts and trades show the newest ones only." in text
    assert "your holdings are not shown" in text


def test_malformed_trades_do_not_break_the_pages(client, owner):
    odd = [{}, {"symbol": 5, "price": "many", "total": Decimal128("NaN")}, {"price": "1e9999"}, {"amount": "x"}, 7]
    made = Transaction.objects.create(
        account_id=1, transaction_count=5, bucket_start_date=DAY, bucket_end_date=DAY, transactions=odd
    )
    customer("Anna", [1], linked=owner)
    for page in (PAGE, "finance:own_trades"):
        assert client.get(reverse(page)).status_code == 200
    client.force_login(user("technician"))
    assert client.get(made.get_absolute_url()).status_code == 200


def test_customers_cannot_export_charts_and_trades_of_others(client, owner):
    customer("Anna", [1], linked=owner)
    other = customer("Other", [2])
    for address in ("trades", "value", "holdings", "unknown"):
        assert client.get(f"/finance/customers/{other.pk}/{address}.csv").status_code == 404
    assert client.get(f"/finance/customers/{owner.customer.pk}/unknown.csv").status_code == 404
