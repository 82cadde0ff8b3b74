"""CSV exports contain exactly the rows of the list and are safe in a spreadsheet. A refusal gives the reason."""

import csv
import datetime
import io
from decimal import Decimal

import pytest
from django.http import StreamingHttpResponse
from django.urls import reverse

from exports.cells import cell
from finance import paging
from finance.models import Account, Customer
from finance.tests.people import customer, user

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]


@pytest.fixture
def get(client):
    client.force_login(user("technician"))
    return lambda name, **query: client.get(reverse(f"finance:{name}_export"), query)


def rows(response):
    assert isinstance(response, StreamingHttpResponse), response.status_code
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode(), newline="")))


def numbers(response):
    return [int(row["account_id"]) for row in rows(response)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [1, 2, 3]), ({"sort": "-account_id"}, [3, 2, 1]), ({"sort": "-limit"}, [3, 2, 1]), ({"number": 2}, [2]),
        ({"product": "Brokerage"}, [1, 2]), ({"limit_from": 20, "limit_to": 20}, [2]), ({"number": 9}, []),
        ({"sort": "password", "user__password__startswith": "a", "per_page": 1, "page": 2}, [1, 2, 3]),
    ],
    ids=str,
)  # fmt: skip
def test_an_export_has_the_rows_of_the_list_in_the_same_order(client, get, query, found):
    Account.objects.create(account_id=1, limit=10, products=["Brokerage"])
    Account.objects.create(account_id=2, limit=20, products=["Commodity", "Brokerage"])
    Account.objects.create(account_id=3, limit=30, products=[])
    assert numbers(get("account", **query)) == found
    listed = client.get(reverse("finance:account_list"), query | {"per_page": 100}).context["page"].records
    assert [account.account_id for account in listed] == found


def test_an_export_is_read_in_chunks_without_gaps(get, monkeypatch):
    monkeypatch.setattr(paging, "CHUNK", 4)
    Account.objects.bulk_create(Account(account_id=number, limit=number % 3, products=[]) for number in range(21))
    exported = numbers(get("account", sort="-limit"))
    assert sorted(exported) == list(range(21))
    assert [number % 3 for number in exported] == [2] * 7 + [1] * 7 + [0] * 7


def test_a_customer_exports_only_their_own_records(client):
    owner = user("customer")
    customer("Ownwoman", [1, 2], linked=owner)
    customer("Otherman", [3])
    other = Account.objects.get(account_id=3)
    client.force_login(owner)
    exported = client.get(reverse("finance:account_export"))
    assert sorted(numbers(exported)) == [1, 2]
    for query in ({"number": 3}, {"only": other.pk}):
        assert numbers(client.get(reverse("finance:account_export"), query)) == []
    assert client.get(reverse("finance:transaction_export")).status_code == 404
    assert [row["name"] for row in rows(client.get(reverse("finance:customer_export")))] == ["Ownwoman"]
    assert rows(client.get(reverse("finance:customer_export"), {"q": "Otherman"})) == []


def test_selected_rows_alone_are_exported_in_the_order_of_the_list(get):
    made = [Account.objects.create(account_id=number, limit=10 - number, products=[]) for number in range(6)]
    only = ["", *(made[number].pk for number in (1, 4, 2)), "0" * 24, "x", "\0"]
    assert numbers(get("account", only=only)) == [1, 2, 4]
    assert numbers(get("account", only=only, sort="limit")) == [4, 2, 1]


def test_an_empty_selection_exports_nothing(get):
    Account.objects.create(account_id=1, limit=1, products=[])
    response = get("account", only="")
    assert response.status_code == 400
    assert "No row is selected" in response.content.decode()


def test_no_cell_is_a_formula(get):
    record = customer("=cmd|' /C calc'!A0", [1])
    Customer.objects.filter(pk=record.pk).update(username="+1", email="@SUM(A1)", address="-2+3\r\n\t=x")
    (row,) = rows(get("customer"))
    assert row["name"] == "'=cmd|' /C calc'!A0"
    assert (row["username"], row["email"], row["address"]) == ("'+1", "'@SUM(A1)", "'-2+3\r\n\t'=x")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""), (-5, -5), (Decimal("-1.50"), "-1.50"), (Decimal("1E+3"), "1000"), ("-5", "'-5"), ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"), ("a;=1", "a;'=1"), ("a=1", "a=1"), (["=1", "b"], "'=1, b"), (True, True), ("", ""),
        (datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), "2020-01-02T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_a_cell_is_unchanged_unless_it_could_be_a_formula(value, written):
    assert cell(value) == written


@pytest.mark.parametrize("query", [{"number": "x"}, {"limit_from": "1e3"}, {"product": "$ne"}], ids=str)
def test_a_search_with_an_error_exports_nothing(get, query):
    Account.objects.create(account_id=1, limit=10, products=[])
    response = get("account", **query)
    assert response.status_code == 400
    assert "Nothing was exported" in response.content.decode()


def test_a_list_over_the_export_limit_is_refused_instead_of_truncated(get, monkeypatch):
    monkeypatch.setattr("exports.responses.LARGEST_EXPORT", 3)
    Account.objects.bulk_create(Account(account_id=number, limit=1, products=[]) for number in range(4))
    response = get("account")
    assert response.status_code == 400
    assert "more than 3 rows" in response.content.decode()
    assert len(numbers(get("account", number=1))) == 1


def test_an_export_is_a_download_that_is_not_cached(get):
    response = get("account")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="accounts.csv"'
    assert response["Cache-Control"] == "private, no-store"


def test_an_export_takes_two_queries_per_chunk(get, django_assert_max_num_queries):
    for number in range(12):
        customer(f"Anna {number}", [number])
    with django_assert_max_num_queries(7):
        assert len(rows(get("customer"))) == 12
