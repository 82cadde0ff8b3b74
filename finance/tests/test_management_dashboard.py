"""The management dashboard: exact totals from MongoDB with their time, also while MongoDB is unreachable."""

import csv
import datetime
import io
from decimal import Decimal

import pytest
from bson import Decimal128, Int64
from django.core.management import CommandError, call_command
from django.urls import reverse

from finance import aggregations, report_cache
from finance.models import CachedReport, Transaction
from finance.tests.people import DAY, customer, trade, user

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "finance:totals_dashboard"
LONG = "0.1000000000000000000000000000000000000000000000001"


@pytest.fixture
def get(client, settings):
    settings.SYNC_INLINE_TIMEOUT = 10  # do not leave changes to the relay on a busy machine
    client.force_login(user("manager"))
    return lambda **query: client.get(reverse(PAGE), query)


@pytest.fixture
def data(get, mongo):
    """Computed totals: trades of two customers in January 2020, a sale in 2019, and malformed trades."""
    customer("Anna", [1, 2])
    customer("Bert", [3])
    earlier = datetime.datetime(2019, 12, 31, 23, tzinfo=datetime.UTC)
    Transaction.objects.create(
        account_id=3, transaction_count=4, bucket_start_date=earlier, bucket_end_date=DAY,
        transactions=[
            trade("long", DAY, "1") | {"total": LONG}, trade("bad", DAY, "1") | {"total": "?"},
            trade("sap", earlier, "10") | {"transaction_code": "sell"}, {"symbol": "sap", "amount": 1, "total": "1"},
        ],
    )  # fmt: skip
    call_command("refresh_totals")


def charts(response):
    return {chart.key: chart for chart, _ in response.context["charts"]}


def rows(response):
    return list(csv.reader(io.StringIO(b"".join(response.streaming_content).decode())))


def test_totals_are_exact_to_28_digits(get, data):
    response = get(first="2020-01", last="2020-01")
    found = charts(response)
    assert found["value"].rows == [("2020-01", Decimal("82.6"), 0, Decimal("82.6"))]
    assert found["pieces"].rows == [("2020-01", 16, 8)]
    assert [(row[0], row[3], row[5]) for row in found["symbols"].rows] == [
        ("ADBE", 63, 3), ("TSLA", Decimal("19.5"), 3), ("LONG", Decimal("0.1"), 1), ("BAD", 0, 1),
    ]  # fmt: skip
    total = Decimal("82.6")
    assert found["products"].rows == [("Brokerage", total, 16, 8, 3, 27000)]
    assert found["tiers"].rows == [("Gold", total, 16, 8, 2)]
    assert [(row[0], row[1]) for row in found["customers"].rows] == [
        ("Anna", 55), ("Bert", Decimal("27.6"))
    ]  # fmt: skip
    text = response.content.decode()
    assert "The value of 1 trade cannot be read" in text
    assert "1 trade has no date" in text


def test_totals_are_compared_with_the_previous_range(get, data):
    totals = {total.label: total for total in get(first="2020-01", last="2020-01").context["dashboard"].totals}
    assert totals["Trades"].value == 8
    assert totals["Trades"].change == 700.0
    assert totals["Bought"].change is None  # nothing was bought before, so there is no percentage
    assert totals["Sold"].change == -100.0


def test_there_is_no_comparison_without_earlier_trades(get, data):
    response = get(first="2019-12", last="2020-01")
    assert response.context["dashboard"].report.before is None
    assert "There are no earlier trades" in response.content.decode()


def test_long_ranges_are_grouped_by_year(get, data):
    response = get(first="2010-01", last="2020-12")
    assert [row[0] for row in charts(response)["value"].rows] == [str(year) for year in range(2010, 2021)]


@pytest.mark.parametrize(
    "query",
    [{"first": "x"}, {"last": "2020-13"}, {"first": "0000-01"}, {"first": "2020-02", "last": "2020-01"},
     {"first": "9" * 5000}, {"last": "$gt"}, {"first[$gt]": ""}],
    ids="{0!s:.30}".format,
)  # fmt: skip
def test_an_invalid_range_is_a_form_error(get, data, query):
    response = get(**query)
    assert response.status_code == 200
    assert bool(response.context["dashboard"].form.errors) == ("first[$gt]" not in query)


@pytest.mark.parametrize("chart", ["value", "pieces", "balance", "symbols", "products", "tiers", "customers"])
def test_each_chart_has_a_csv_with_the_same_numbers(client, get, data, chart):
    query = {"first": "2019-12", "last": "2020-01"}
    shown = charts(get(**query))[chart]
    header, *lines = rows(client.get(reverse("finance:totals_chart", args=[chart]), query))
    assert header == list(shown.columns)
    assert [line[0] for line in lines] == [str(row[0]) for row in shown.rows]
    assert [Decimal(line[1]) for line in lines] == [row[1] for row in shown.rows]
    assert lines


def test_an_unknown_chart_has_no_csv(client, get):
    assert client.get("/dashboard/management/secrets.csv").status_code == 404


def test_the_csv_of_unknown_totals_is_refused(client, get, mongod):
    mongod.kill()
    assert client.get(reverse("finance:totals_chart", args=["value"])).status_code == 503


def test_the_first_visit_computes_the_totals(get, mongo):
    customer("Anna", [1])
    dashboard = get().context["dashboard"]
    deadline = datetime.datetime.now() + datetime.timedelta(seconds=30)
    while dashboard.data is None and datetime.datetime.now() < deadline:
        dashboard = get().context["dashboard"]
    assert dashboard.report.total.trades == 2


def test_a_portal_without_trades_says_so(get, mongo):
    call_command("refresh_totals")
    assert "No trades yet" in get().content.decode()


def test_while_mongodb_is_unreachable_the_last_known_totals_are_shown(get, data, mongod):
    as_of = CachedReport.objects.get(key=report_cache.TOTALS).as_of
    CachedReport.objects.update(due_at=as_of)  # the totals are due for a refresh
    mongod.kill()
    response = get(first="2020-01", last="2020-01")
    text = response.content.decode()
    assert response.status_code == 200
    assert "MongoDB does not respond. These are the last known totals" in text
    assert f"as of {as_of:%Y-%m-%d %H:%M:%S}" in text
    assert charts(response)["pieces"].rows == [("2020-01", 16, 8)]
    assert charts(response)["customers"].rows == []
    assert "so the customers of this range are unknown" in text
    assert CachedReport.objects.get(key=report_cache.TOTALS).claim == ""


def test_unknown_totals_are_not_shown_as_figures(get, mongod):
    mongod.kill()
    response = get()
    assert response.status_code == 200
    assert "all totals are unknown" in response.content.decode()
    assert "Value traded" not in response.content.decode()


def test_the_dashboard_takes_few_queries(get, data, django_assert_max_num_queries):
    get(first="2020-01", last="2020-01")
    for key in report_cache.kept():
        report_cache.refresh(key, force=True)
    with django_assert_max_num_queries(9):
        get(first="2020-01", last="2020-01")


def test_only_one_process_at_a_time_computes_totals(data):
    CachedReport.objects.update(claim="another", due_at=datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC))
    assert not report_cache.refresh(force=True)
    with pytest.raises(CommandError, match="left to another process") as error:
        call_command("refresh_totals")
    assert error.value.returncode == 1


def test_an_expired_claim_is_taken_over(data):
    CachedReport.objects.update(claim="dead", due_at=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    assert report_cache.refresh()
    assert CachedReport.objects.get(key=report_cache.TOTALS).claim == ""


def test_fresh_totals_are_not_computed_again(data, capsys):
    call_command("refresh_totals", if_due=True)
    assert "totals: fresh" in capsys.readouterr().out


def test_refresh_totals_reports_an_unreachable_mongodb_in_one_line(mongod, monkeypatch):
    mongod.kill()
    monkeypatch.setattr(aggregations, "LONGEST", 1.0)
    with pytest.raises(CommandError, match="MongoDB does not respond") as error:
        call_command("refresh_totals")
    assert error.value.returncode == 2
    row = CachedReport.objects.get(key=report_cache.TOTALS)
    assert row.claim == ""
    assert "MongoDB does not respond" in row.error


def test_unusual_limits_and_amounts_are_added_up_or_reported(get, data, mongo):
    """Each of these values once led to a sum that JSON cannot represent, which stopped all later refreshes."""
    known = mongo.accounts.find_one({"account_id": 1}, {"_id": 0})
    odd = [Decimal128("NaN"), Decimal128("1E+6000"), float("nan"), float("-inf"), 1e308, "5", True, DAY, None]
    odd += [Decimal128("5"), 5.9]  # a limit is a whole number
    good = [5, Int64(5)]
    mongo.accounts.insert_many([known | {"account_id": 100, "limit": limit} for limit in odd + good])
    bucket = mongo.transactions.find_one({"account_id": 1}, {"_id": 0})
    huge = trade("sap", DAY, "1") | {"amount": Int64(2**63 - 1)}
    mongo.transactions.insert_many([bucket | {"transactions": [huge, huge]} for _ in range(2)])
    with pytest.raises(CommandError, match=f"{len(odd)} documents of accounts could not be read"):
        call_command("refresh_totals")
    response = get(first="2020-01", last="2020-01")
    assert response.status_code == 200
    assert charts(response)["products"].rows[0][-1] == 27000 + 2 * 5
