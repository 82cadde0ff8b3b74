"""What helps with long lists: how many rows there are, page sizes, removable filters, and a checkbox for each row."""

import re

import pytest
from django.db import connection
from django.http import QueryDict
from django.urls import reverse

from finance import counting
from finance.models import Account
from finance.tests.people import customer, user

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]


@pytest.fixture
def get(client):
    client.force_login(user("technician"))
    return lambda name, **query: client.get(reverse(f"finance:{name}"), query)


def accounts(count):
    Account.objects.bulk_create(
        Account(account_id=number, limit=number % 2, products=["Brokerage"]) for number in range(count)
    )


@pytest.mark.parametrize(
    ("rows", "query", "says"),
    [
        (1, {}, "1 row"), (3, {}, "3 rows"), (40, {}, "40 rows"), (40, {"limit_from": 1}, "20 rows"),
        (70, {}, "About 1,700 rows"), (110, {"limit_from": 1}, "More than 50 rows"),
    ],
    ids=str,
)  # fmt: skip
def test_a_list_says_how_many_rows_there_are(get, monkeypatch, rows, query, says):
    monkeypatch.setattr(counting, "COUNTED", 50)
    monkeypatch.setattr(counting, "estimated", lambda table: {"finance_account": 1746}[table])
    accounts(rows)
    assert get("account_list", **query).context["count"] == says
    page = get("account_list", **query, per_page=1).context["page"]
    if page.next:
        assert get("account_list", **query, per_page=1, after=page.next).context["count"] == says


def test_an_estimate_that_is_out_of_date_is_not_shown(get, monkeypatch):
    monkeypatch.setattr(counting, "COUNTED", 50)
    monkeypatch.setattr(counting, "estimated", lambda table: 7)
    accounts(70)
    assert get("account_list").context["count"] == "More than 50 rows"


@pytest.mark.django_db(transaction=True)
def test_the_estimate_comes_from_the_server():
    accounts(400)
    if connection.vendor == "mysql":  # which counts again now and then
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE TABLE finance_account")
            cursor.fetchall()
    assert 300 <= counting.estimated("finance_account") <= 500


def test_a_customer_is_never_told_the_number_of_all_rows(client, monkeypatch):
    monkeypatch.setattr(counting, "COUNTED", 2)
    owner = user("customer")
    customer("Own", list(range(30)), linked=owner)
    accounts(70)
    client.force_login(owner)
    assert client.get(reverse("finance:account_list")).context["count"] == "More than 2 rows"


def test_page_sizes_keep_the_search_and_start_at_the_first_page(get):
    accounts(60)
    cursor = get("account_list").context["page"].next
    text = get("account_list", limit_from=0, after=cursor, per_page=50).content.decode()
    menu = re.search(r'<ul class="choices small".*?</ul>', text, re.DOTALL)[0]
    links = re.findall(r'<a\s+(aria-current="true")?\s*href="\?([^"]*)">(\d+)</a>', menu)
    assert [(bool(current), QueryDict(query.replace("&amp;", "&")).dict(), size) for current, query, size in links] == [
        (size == "50", {"limit_from": "0", "per_page": size}, size) for size in ("25", "50", "100")
    ]


def test_each_filter_in_use_can_be_removed_alone(get):
    accounts(3)
    response = get("account_list", product="Brokerage", number="x", limit_to="", sort="-limit", after="y")
    chips = response.context["chips"]
    assert [(chip.label, chip.value, QueryDict(chip.without[1:]).dict()) for chip in chips] == [
        ("Account number", "x", {"product": "Brokerage", "limit_to": "", "sort": "-limit"}),
        ("Product", "Brokerage", {"number": "x", "limit_to": "", "sort": "-limit"}),
    ]
    assert response.content.decode().count('class="chip"') == 2


def test_staff_can_select_rows_and_customers_cannot(client, get):
    owner = user("customer")
    customer("Own", [1, 2], linked=owner)
    keys = set(Account.objects.values_list("pk", flat=True))
    text = get("account_list").content.decode()
    assert set(re.findall(r'name="only" value="(\w+)"', text)) == keys
    assert 'aria-label="Select Account 1"' in text
    client.force_login(owner)
    text = client.get(reverse("finance:account_list")).content.decode()
    assert "2 rows" in text
    assert 'name="only"' not in text
