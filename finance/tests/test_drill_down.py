"""From a number of the management dashboard to the trades behind it. Expected trades come from the rows in MySQL."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from bson import Decimal128
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from finance import found_trades, report_cache
from finance.models import Account, CachedReport, Customer, Transaction
from finance.tests.people import DAY, customer, trade, user
from sync.core.clock import database_now

pytestmark = pytest.mark.django_db(transaction=True)

PAGE, TRADES, EXPORT = (f"finance:totals_{name}" for name in ("dashboard", "trades", "trades_export"))
NEXT_DAY = DAY + datetime.timedelta(1)
LAST_YEAR = datetime.datetime(2019, 12, 31, 23, tzinfo=datetime.UTC)
WIDE = {"first": "2019-12", "last": "2020-01"}
SIDES = ("buy", "sell")


@pytest.fixture
def get(client: Client, settings: Any) -> Callable[..., Any]:
    settings.SYNC_INLINE_TIMEOUT = 10  # do not leave changes to the relay on a busy machine
    client.force_login(user("manager"))
    return lambda name, **query: client.get(reverse(name), query)


@pytest.fixture
def people(get: Any, mongo: Any) -> dict[str, Customer]:
    """Anna has accounts 1 and 2, Bert 3, and Bertha shares 2. Tiers, products, sides and symbols differ."""
    made = {"Anna": customer("Anna", [1, 2]), "Bert": customer("Bert Hammond", [3])}
    made["Bertha"] = customer("Bertha Hammond", [])
    made["Bertha"].accounts = [2]
    made["Bertha"].tier_and_details = {"y": {"tier": "Silver", "id": "y", "active": True, "benefits": []}}
    made["Bertha"].save()
    account = Account.objects.get(account_id=3)
    account.products = ["Commodity", "Brokerage"]
    account.save()
    Account.objects.create(account_id=4, limit=1, products=[])
    odd = {key: value for key, value in trade("x", DAY, "1").items() if key != "symbol"}
    Transaction.objects.create(
        account_id=4, transaction_count=5, bucket_start_date=LAST_YEAR, bucket_end_date=DAY,
        transactions=[
            trade("sap", LAST_YEAR, "10") | {"transaction_code": "sell"}, trade("sap", DAY, "7.5"), odd,
            trade("sap", DAY, Decimal128("123.45")), {"symbol": "sap", "total": "1"}, "not a trade",
            trade("$amount", DAY, "1") | {"transaction_code": "sell"},
        ],
    )  # fmt: skip
    with pytest.raises(CommandError, match="1 document of transactions could not be read in full"):
        call_command("refresh_totals")
    return made


def trades_in_mysql(
    wanted: Callable[[int, dict[str, Any]], bool] = lambda number, trade: True,
) -> list[tuple[Any, ...]]:
    """(account, symbol, side, total) of the trades with a date that fit, in any order."""
    return sorted(
        (bucket.account_id, str(each.get("symbol")), each["transaction_code"], Decimal(str(each["total"])))
        for bucket in Transaction.objects.all()
        for each in bucket.transactions
        if isinstance(each, dict) and "date" in each and wanted(bucket.account_id, each)
    )


def shown(response: Any) -> list[tuple[Any, ...]]:
    rows = [row.record for row in response.context["trades"].rows]
    return sorted((each.account_id, str(each.symbol), each.code, each.total) for each in rows)


def charts(response: Any) -> dict[str, Any]:
    return {chart.key: chart for chart, _ in response.context["charts"]}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, lambda number, trade: True),
        ({"symbol": "adbe"}, lambda number, trade: trade.get("symbol") == "adbe"),
        ({"symbol": "$amount"}, lambda number, trade: trade.get("symbol") == "$amount"),
        ({"symbol": "-"}, lambda number, trade: "symbol" not in trade),
        ({"product": "Commodity"}, lambda number, trade: number == 3),
        ({"product": "-"}, lambda number, trade: number == 4),
        ({"tier": "Gold"}, lambda number, trade: number in (1, 2, 3)),
        ({"tier": "Silver"}, lambda number, trade: number == 2),
        ({"tier": "-"}, lambda number, trade: number == 4),
        ({"customer": "Anna"}, lambda number, trade: number in (1, 2)),
        ({"side": "sell"}, lambda number, trade: trade["transaction_code"] == "sell"),
        ({"first": "2019-12", "last": "2019-12"}, lambda number, trade: trade["date"] == LAST_YEAR),
        ({"customer": "Anna", "symbol": "tsla", "tier": "Silver", "product": "Brokerage"},
         lambda number, trade: number == 2 and trade.get("symbol") == "tsla"),
    ],
    ids=lambda value: "-".join(value) or "all" if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_narrows_the_dashboard_narrows_the_trades_and_their_csv(
    get: Any, people: dict[str, Customer], query: dict[str, str], wanted: Any
) -> None:
    query = WIDE | {name: people[value].pk if name == "customer" else value for name, value in query.items()}
    expected = trades_in_mysql(wanted)
    assert expected
    response = get(TRADES, **query)
    totals = response.context["totals"]
    assert shown(response) == expected
    assert (totals.trades, totals.bought, totals.sold) == (
        len(expected), *(sum(total for _n, _s, code, total in expected if code == side) for side in SIDES)
    )  # fmt: skip
    header, *lines = csv.reader(io.StringIO(b"".join(get(EXPORT, **query).streaming_content).decode()))
    assert header[:4] == ["date", "account_id", "symbol", "transaction_code"]
    found = [(int(line[1]), line[2] or "None", line[3], Decimal(line[6])) for line in lines]
    assert sorted(found) == expected
    if "side" not in query:
        report = get(PAGE, **query).context["dashboard"].report
        assert report.total.trades == len(expected)
        assert report.total.value == sum(each[-1] for each in expected)


def test_each_row_of_each_chart_leads_to_exactly_its_trades(client: Client, get: Any, people: Any) -> None:
    found = charts(get(PAGE, **WIDE))
    opened = 0
    for chart in found.values():
        for row, url in zip(chart.rows, chart.urls, strict=True):
            values = dict(zip(chart.columns, row, strict=True))
            response = client.get(url)
            assert response.status_code == 200
            totals = response.context["totals"]
            if "Trades" in values:
                assert totals.trades == values["Trades"], (chart.key, row)
            if "Bought" in values:
                assert (totals.bought, totals.sold) == (values["Bought"], values["Sold"]), (chart.key, row)
            opened += totals.trades
    assert set(found) == {"value", "pieces", "balance", "symbols", "customers", "products", "tiers"}
    assert opened > 50


def test_the_colours_of_a_bar_lead_to_their_side(client: Client, get: Any, people: Any) -> None:
    chart = charts(get(PAGE, **WIDE))["value"]
    drawn = chart.drawn
    for place, url in enumerate(drawn["urls"]):
        for series in drawn["series"]:
            totals = client.get(f"{url}&{series['narrows']}").context["totals"]
            assert float(totals.bought + totals.sold) == series["values"][place]


def test_the_way_back_keeps_what_was_asked(client: Client, get: Any, people: dict[str, Customer]) -> None:
    text = get(TRADES, **WIDE, symbol="sap", side="buy", sort="total", page="1").content.decode()
    assert f'href="{reverse(PAGE)}?first=2019-12&amp;last=2020-01&amp;symbol=sap"' in text


def test_a_symbol_that_is_not_in_the_data_is_refused(get: Any, people: Any) -> None:
    for name in (PAGE, TRADES):
        response = get(name, **WIDE, symbol="$transactions")
        assert response.status_code == 200
        assert "Select a valid choice" in response.content.decode()
    assert get(EXPORT, **WIDE, symbol="$transactions").status_code == 400
    assert not CachedReport.objects.filter(key__startswith="only").exists()


def test_a_customer_is_found_by_any_word(client: Client, get: Any, people: dict[str, Customer]) -> None:
    response = get(PAGE, **WIDE, find="hammond")
    form = response.context["dashboard"].form
    assert [name for name, _query in form.choices] == ["Bert Hammond", "Bertha Hammond"]
    assert "Several customers match" in response.content.decode()
    chosen = client.get(f"{reverse(PAGE)}{form.choices[1][1]}")
    assert chosen.context["dashboard"].report.total.trades == 2
    chips = chosen.context["dashboard"].form.chips
    assert [(chip.label, chip.value) for chip in chips] == [("Customer", "Bertha Hammond")]
    assert "customer" not in parse_qs(urlsplit(chips[0].without).query)
    assert get(PAGE, **WIDE, find="anna").context["dashboard"].only.customer == people["Anna"].pk
    assert "No customer has such a name" in get(PAGE, **WIDE, find="nobody").content.decode()
    assert "There is no such customer" in get(PAGE, **WIDE, customer="0" * 24).content.decode()


def test_choosing_a_customer_keeps_what_else_was_asked(client: Client, get: Any, people: dict[str, Customer]) -> None:
    form = get(TRADES, **WIDE, find="hammond", side="sell", symbol="sap").context["form"]
    asked = client.get(f"{reverse(TRADES)}{form.choices[1][1]}").context["form"]
    stated = {"side": "sell", "symbol": "sap", "customer": people["Bertha"].pk, **WIDE}
    assert {name: asked.data[name] for name in stated} == stated


def test_the_list_of_trades_computes_no_totals(get: Any, people: Any) -> None:
    stored = set(CachedReport.objects.values_list("key", flat=True))
    assert get(TRADES, **WIDE, symbol="sap").context["totals"].trades
    assert get(EXPORT, **WIDE, symbol="sap").status_code == 200
    assert set(CachedReport.objects.values_list("key", flat=True)) == stored


def test_trades_can_be_sorted_by_date_and_total(get: Any, people: Any) -> None:
    for sort, attribute in (("date", "date"), ("-date", "date"), ("total", "total"), ("-total", "total")):
        rows = [row.record for row in get(TRADES, **WIDE, sort=sort).context["trades"].rows]
        values = [getattr(row, attribute) for row in rows]
        assert values == sorted(values, reverse=sort.startswith("-"))


def test_pages_have_each_trade_once(get: Any, people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for number in range(1, 6):
        response = get(TRADES, **WIDE, per_page="3", page=str(number))
        found += [
            (each.account_id, each.date, str(each.symbol), each.total)
            for each in (row.record for row in response.context["trades"].page.object_list)
        ]
    assert len(found) == len(set(found)) == len(trades_in_mysql())
    monkeypatch.setattr("finance.views.management.MOST_PAGES", 2)
    response = get(TRADES, **WIDE, per_page="3", page="4")
    assert response.context["trades"].page.number == 2
    assert "Only the first pages can be opened" in response.content.decode()


def test_while_mongodb_is_unreachable_no_trades_are_invented(get: Any, people: Any, mongod: Any) -> None:
    mongod.kill()
    text = get(TRADES, **WIDE).content.decode()
    assert "these trades are unknown" in text
    assert get(EXPORT, **WIDE).status_code == 503
    text = get(PAGE, **WIDE, symbol="sap").content.decode()
    assert "These totals have not been computed before" in text
    assert "Value traded" not in text


def test_a_search_that_takes_too_long_says_so(get: Any, people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_trades, "SECONDS", 1e-9)
    assert "The trades could not be read" in get(TRADES, **WIDE).content.decode()


def test_searches_leave_threads_for_other_pages(get: Any, people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_trades, "PATIENCE", 0.01)
    for _turn in range(found_trades.AT_ONCE):
        found_trades._turns.acquire()
    try:
        assert "Other searches are running" in get(TRADES, **WIDE).content.decode()
        assert get(EXPORT, **WIDE).status_code == 503
    finally:
        for _turn in range(found_trades.AT_ONCE):
            found_trades._turns.release()
    assert get(TRADES, **WIDE).context["totals"].trades


def test_narrowed_totals_are_kept_in_limited_number(get: Any, people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_cache, "MOST_NARROWED", 4)
    for symbol in ("adbe", "tsla", "sap", "-"):
        assert get(PAGE, **WIDE, symbol=symbol).context["dashboard"].report
    assert CachedReport.objects.filter(key__startswith="only").count() <= 4 + 1
    assert all(not key.startswith("only") for key in report_cache.kept())


def test_an_unfinished_month_is_drawn_as_partial(get: Any, mongo: Any) -> None:
    now = database_now("default").replace(microsecond=0)
    customer("Anna", [1])
    Transaction.objects.create(
        account_id=1, transaction_count=1, bucket_start_date=now, bucket_end_date=now,
        transactions=[trade("adbe", now, "1")],
    )  # fmt: skip
    call_command("refresh_totals")
    response = get(PAGE)
    chart = charts(response)["value"]
    assert chart.drawn["partial"] == [False] * 11 + [True]
    assert list(chart.partial) == [f"{now:%Y-%m}"]
    assert "fewer days than the range before" in response.content.decode()
    by_year = charts(get(PAGE, first="2013-03", last=f"{now:%Y-%m}"))["value"]
    assert set(by_year.partial) == {"2013", f"{now:%Y}"}
    assert by_year.partial["2013"] == "from 2013-03"


def test_changes_have_a_direction_and_a_sign(get: Any, people: Any) -> None:
    text = get(PAGE, first="2020-01", last="2020-01").content.decode()
    assert "▲" in text
    assert "+" in text.split("▲")[1][:60]


def test_those_who_may_not_see_all_records_see_no_trades(client: Client, people: Any) -> None:
    only_totals = user("nobody", "totals")
    only_totals.user_permissions.add(Permission.objects.get(codename="view_totals"))
    client.force_login(only_totals)
    response = client.get(reverse(PAGE), WIDE)
    assert response.status_code == 200
    assert not any(url for chart in charts(response).values() for url in chart.urls)
    assert client.get(reverse(TRADES), WIDE).status_code == 403
    assert client.get(reverse(EXPORT), WIDE).status_code == 403
