"""A customer's trades page: all their trades, sorted, filtered and added up, and a CSV of exactly these."""

import csv
import datetime
import io
from decimal import Decimal

import pytest
from django.http import QueryDict
from django.urls import reverse

from finance import trades as trades_module
from finance.filters import presets
from finance.models import Account, Transaction
from finance.tests.people import DAY, customer, trade, user

pytestmark = [pytest.mark.quick, pytest.mark.django_db]
PAGE = "finance:own_trades"


@pytest.fixture
def owner(client):
    owner = user("customer")
    client.force_login(owner)
    return owner


@pytest.fixture
def anna(owner):
    """Her accounts 1 and 2 have the trades tsla 6.5 (2020-01-03), adbe 21 (2020-01-02) each; she sold sap before."""
    anna = customer("Anna", [1, 2], linked=owner)
    customer("Other", [3])
    before = DAY - datetime.timedelta(5)
    sold = trade("sap", before, "700") | {"transaction_code": "sell", "amount": 50}
    Transaction.objects.create(
        account_id=2, transaction_count=1, bucket_start_date=before, bucket_end_date=before, transactions=[sold]
    )
    return anna


def rows(response):
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def shown(response):
    return [(row.record.symbol, row.record.account_id) for row in response.context["trades"].page.object_list]


ALL = [("tsla", 1), ("tsla", 2), ("adbe", 1), ("adbe", 2), ("sap", 2)]
SEARCHES = [
    ({}, ALL),
    ({"sort": "date"}, [("sap", 2), ("adbe", 1), ("adbe", 2), ("tsla", 1), ("tsla", 2)]),
    ({"sort": "symbol"}, [("adbe", 1), ("adbe", 2), ("sap", 2), ("tsla", 1), ("tsla", 2)]),
    ({"sort": "-amount"}, [("sap", 2), ("tsla", 1), ("tsla", 2), ("adbe", 1), ("adbe", 2)]),
    ({"sort": "price"}, [("tsla", 1), ("tsla", 2), ("adbe", 1), ("adbe", 2), ("sap", 2)]),
    ({"sort": "-total"}, [("sap", 2), ("adbe", 1), ("adbe", 2), ("tsla", 1), ("tsla", 2)]),
    ({"sort": "account_id"}, ALL),
    ({"account": "2"}, [("tsla", 2), ("adbe", 2), ("sap", 2)]),
    ({"symbol": "sap"}, [("sap", 2)]),
    ({"code": "sell"}, [("sap", 2)]),
    ({"since": "2020-01-02", "sort": "symbol"}, [("adbe", 1), ("adbe", 2), ("tsla", 1), ("tsla", 2)]),
    ({"until": "2020-01-02"}, [("adbe", 1), ("adbe", 2), ("sap", 2)]),
    ({"since": "2020-01-02", "until": "2020-01-02", "account": "1"}, [("adbe", 1)]),
    ({"code": "sell", "symbol": "adbe"}, []),
]


@pytest.mark.parametrize(("query", "found"), SEARCHES, ids=str)
def test_the_page_and_its_csv_have_the_same_trades(client, anna, query, found):
    def by_account(trades):  # both accounts traded on the same days, and equal trades have no order
        return [trade for number in (1, 2) for trade in trades if trade[1] == number]

    listed = shown(client.get(reverse(PAGE), query))
    exported = rows(client.get(reverse("finance:customer_trades", args=[anna.pk]), query))
    assert [(row["symbol"], int(row["account_id"])) for row in exported] == listed
    assert [symbol for symbol, _number in listed] == [symbol for symbol, _number in found]
    assert by_account(listed) == by_account(found)


def test_trades_with_an_unknown_value_come_last_in_both_directions(client, owner):
    customer("Anna", [1], linked=owner)
    odd = trade("odd", DAY, "1") | {"price": None}
    Transaction.objects.create(
        account_id=1, transaction_count=1, bucket_start_date=DAY, bucket_end_date=DAY, transactions=[odd]
    )
    for sort, symbols in (("price", ["tsla", "adbe", "odd"]), ("-price", ["adbe", "tsla", "odd"])):
        assert [symbol for symbol, _ in shown(client.get(reverse(PAGE), {"sort": sort}))] == symbols


def test_it_adds_up_what_the_search_finds(client, anna):
    totals = client.get(reverse(PAGE)).context["totals"]
    assert totals == (5, Decimal(55), Decimal(1400))
    totals = client.get(reverse(PAGE), {"account": "1", "per_page": "1"}).context["totals"]
    assert totals == (2, Decimal("27.5"), Decimal(0))


def test_each_filter_in_use_can_be_removed_alone(client, anna):
    response = client.get(reverse(PAGE), {"code": "sell", "symbol": "sap", "sort": "date", "page": "1"})
    chips = response.context["chips"]
    assert [(chip.label, chip.value) for chip in chips] == [("Symbol", "SAP"), ("Side", "Sell")]
    assert [QueryDict(chip.without[1:]).dict() for chip in chips] == [
        {"code": "sell", "sort": "date"}, {"symbol": "sap", "sort": "date"},
    ]  # fmt: skip
    text = response.content.decode()
    assert text.count('class="chip"') == 2
    assert shown(client.get(reverse(PAGE) + chips[1].without)) == [("sap", 2)]


def test_presets_are_whole_months_until_today():
    found = presets(QueryDict("since=2023-03-01&code=buy&page=2"), datetime.date(2024, 2, 29))
    days = {preset.label: QueryDict(preset.search[1:]).dict() for preset in found}
    assert days == {
        "This month": {"since": "2024-02-01", "code": "buy"},
        "Last 12 months": {"since": "2023-03-01", "code": "buy"},
        "This year": {"since": "2024-01-01", "code": "buy"},
        "Last year": {"since": "2023-01-01", "until": "2023-12-31", "code": "buy"},
    }
    assert [preset.label for preset in found if preset.is_current] == ["Last 12 months"]


@pytest.mark.parametrize(
    "query",
    [
        {"symbol": "none"}, {"symbol": "$where"}, {"code": "x"}, {"since": "yesterday"}, {"until": "9" * 5000},
        {"since": "2020-01-02", "until": "2020-01-01"}, {"account": "3"}, {"account": "x"},
    ],
    ids=lambda query: str(query)[:60],
)  # fmt: skip
def test_a_wrong_filter_shows_and_exports_nothing_and_says_why(client, anna, query):
    response = client.get(reverse(PAGE), query)
    assert response.status_code == 200
    assert response.context["totals"].trades == 0
    assert "Fix the highlighted field" in response.content.decode()
    for name, rest in (("customer_trades", []), ("customer_chart", ["value"])):
        assert client.get(reverse(f"finance:{name}", args=[anna.pk, *rest]), query).status_code == 400


@pytest.mark.parametrize(
    "query", [{"page": "x"}, {"page": "-1"}, {"page": "9" * 5000}, {"sort": "unread"}, {"per_page": "x"}], ids=str
)
def test_an_invalid_place_or_order_shows_the_first_trades(client, anna, query):
    response = client.get(reverse(PAGE), query)
    assert response.status_code == 200
    assert len(shown(response)) == 5


def test_pages_have_the_chosen_size(client, anna):
    response = client.get(reverse(PAGE), {"per_page": "2", "page": "3"})
    assert shown(response) == [("sap", 2)]
    assert "Page 3 of 3, 5 in all" in response.content.decode()


def test_it_says_when_it_has_the_newest_trades_only(client, anna, monkeypatch):
    monkeypatch.setattr(trades_module, "MOST_BUCKETS", 1)
    assert "It has the newest ones only" in client.get(reverse(PAGE)).content.decode()


def test_a_customer_without_a_record_or_trades_is_told_what_to_do(client, owner):
    assert "Staff link your customer record" in client.get(reverse(PAGE)).content.decode()
    customer("Anna", [], linked=owner)
    assert "No trades yet" in client.get(reverse(PAGE)).content.decode()


def test_an_account_has_its_own_trades_and_chart(client, anna):
    response = client.get(Account.objects.get(account_id=2).get_absolute_url())
    assert [row.record.symbol for row in response.context["trades"].rows] == ["tsla", "adbe", "sap"]
    text = response.content.decode()
    assert f'href="{reverse(PAGE)}?account=2"' in text
    assert "<canvas" in text
    csv_of_chart = reverse("finance:customer_chart", args=[anna.pk, "value"]) + "?account=2"
    assert f'href="{csv_of_chart}"' in text
    assert [(row["Bought"], row["Sold"]) for row in rows(client.get(csv_of_chart))] == [("0", "1400.0"), ("27.5", "0")]


def test_customers_see_neither_buckets_nor_keys(client, anna):
    """The keys are in URLs and nowhere else."""
    bucket = Transaction.objects.filter(account_id=1)[0]
    account = Account.objects.get(account_id=1)
    for address in (reverse("finance:customer_dashboard"), reverse(PAGE), account.get_absolute_url(),
                    anna.get_absolute_url(), reverse("finance:account_list")):  # fmt: skip
        text = client.get(address).content.decode()
        for words in ("_id<", ">" + account.pk, ">" + anna.pk, bucket.pk, "Transactions", "/finance/transactions/"):
            assert words not in text, address
    for name in ("account_export", "customer_export"):
        (row, *_) = rows(client.get(reverse(f"finance:{name}")))
        assert "_id" not in row
    assert client.get(bucket.get_absolute_url()).status_code == 404


def test_the_page_takes_few_queries(client, anna, django_assert_max_num_queries):
    with django_assert_max_num_queries(6):
        client.get(reverse(PAGE))
