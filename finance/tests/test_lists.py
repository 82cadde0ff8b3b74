"""Searching, sorting and paging. No query string breaks a list."""

import pytest
from django.urls import reverse

from finance.models import Account, Customer, Transaction
from finance.record_types import RECORD_TYPES
from finance.tests.people import customer, user

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]


@pytest.fixture
def get(client):
    client.force_login(user("technician"))
    return lambda name, **query: client.get(reverse(f"finance:{name}"), query)


def numbers(response):
    return [record.account_id for record in response.context["page"].records]


def test_it_finds_accounts_by_number_product_and_limit(get):
    Account.objects.create(account_id=1, limit=10, products=["Brokerage"])
    Account.objects.create(account_id=2, limit=20, products=["Commodity", "Brokerage"])
    Account.objects.create(account_id=3, limit=30, products=[])
    assert numbers(get("account_list", number=2)) == [2]
    assert numbers(get("account_list", product="Brokerage")) == [1, 2]
    assert numbers(get("account_list", limit_from=20)) == [2, 3]
    assert numbers(get("account_list", limit_to=20, product="Commodity")) == [2]
    assert numbers(get("account_list", sort="-account_id")) == [3, 2, 1]


def test_it_finds_customers_by_the_start_of_any_word(get):
    customer("Anna Blum", [1])
    customer("Bert Baum", [2])

    def names(words):
        return [record.name for record in get("customer_list", q=words).context["page"].records]

    assert names(" aNNa  bl") == names("ann") == names("anna blum@ex") == ["Anna Blum"]
    assert names("Blum") == ["Anna Blum"]
    assert names("lum") == names("example.com") == names("%") == []


def test_it_finds_transactions_by_number_and_day(get):
    customer("Anna", [1, 2])
    assert numbers(get("transaction_list", number=1)) == [1]
    assert len(numbers(get("transaction_list", since="2020-01-03", until="2020-01-02"))) == 2
    assert numbers(get("transaction_list", since="2020-01-04")) == []
    assert numbers(get("transaction_list", until="2020-01-01")) == []


def pages(get, **query):
    """The numbers on each page, forward to the last page and then back to the first."""
    forward, cursor = [], ""
    while True:
        response = get("account_list", after=cursor, **query)
        forward.append(numbers(response))
        if (cursor := response.context["page"].next) is None:
            break
    backward = [forward[-1]]
    while (cursor := response.context["page"].previous) is not None:
        response = get("account_list", before=cursor, **query)
        backward.append(numbers(response))
    return forward, backward


@pytest.mark.parametrize("sort", ["limit", "-limit", "account_id", "-account_id"])
def test_it_pages_without_gaps_among_equal_values(get, sort):
    Account.objects.bulk_create(Account(account_id=number, limit=number % 2, products=[]) for number in range(30))
    forward, backward = pages(get, sort=sort, per_page=8)
    assert sorted(number for page in forward for number in page) == list(range(30))
    assert [len(page) for page in forward] == [8, 8, 8, 6]
    assert backward == forward[::-1]


def test_the_next_page_is_correct_after_rows_were_added_and_deleted(get):
    Account.objects.bulk_create(Account(account_id=number, limit=7, products=[]) for number in range(10, 20))
    first = get("account_list", per_page=5)
    Account.objects.bulk_create(Account(account_id=number, limit=7, products=[]) for number in range(5))
    Account.objects.filter(account_id__in=[12, 14, 15]).delete()
    assert numbers(get("account_list", per_page=5, after=first.context["page"].next)) == [16, 17, 18, 19]


@pytest.mark.parametrize("cursor", ["x", "9" * 5000, "a:b:c", "\0"])
def test_an_invalid_cursor_leads_to_the_first_page(get, cursor):
    Account.objects.bulk_create(Account(account_id=number, limit=7, products=[]) for number in range(3))
    assert numbers(get("account_list", after=cursor)) == numbers(get("account_list", before=cursor)) == [0, 1, 2]


def test_a_cursor_of_another_list_leads_to_the_first_page(get):
    Account.objects.bulk_create(Account(account_id=number, limit=7, products=[]) for number in range(9))
    cursor = get("account_list", per_page=5, sort="limit").context["page"].next
    assert numbers(get("account_list", per_page=5, after=cursor)) == [0, 1, 2, 3, 4]


def test_a_page_never_counts_all_rows(get, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr("finance.counting.COUNTED", 40)
    Account.objects.bulk_create(Account(account_id=number, limit=7, products=[]) for number in range(60))
    with django_assert_max_num_queries(9) as captured:
        get("account_list")
    counts = [query["sql"] for query in captured.captured_queries if "COUNT(" in query["sql"].upper()]
    assert len(counts) == 1
    assert "LIMIT 41" in counts[0]


def test_a_search_with_an_error_finds_nothing_and_says_why(get):
    Account.objects.create(account_id=1, limit=1, products=[])
    response = get("account_list", number="many")
    assert numbers(response) == []
    assert "Fix the highlighted field" in response.content.decode()


def test_an_empty_list_says_what_to_do(get):
    assert "Add the first one" in get("account_list").content.decode()
    assert "Show all" in get("account_list", number=5).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        {"page": "x"}, {"page": "-1"}, {"page": "0"}, {"page": "9" * 5000}, {"page": "1e9"}, {"page": "٣"},
        {"per_page": "0"}, {"per_page": "-5"}, {"per_page": "x"}, {"per_page": "9" * 5000}, {"per_page": "²"},
        {"sort": "password"}, {"sort": "user__password"}, {"sort": "--"}, {"sort": "limit,limit,-limit"}, {"sort": "?"},
        {"number": "x"}, {"number": "9" * 5000}, {"number": "1.5"}, {"number": "99999999999"}, {"number": "-1"},
        {"product": "x"}, {"limit_from": "NaN"}, {"since": "2020-13-45"}, {"since": "0001-01-01"},
        {"until": "9999-12-31"}, {"q": "\0"}, {"q": "x" * 5000}, {"q": "'\"%_\\ 😀"},
        {"user__password__startswith": "a"},
    ],
    ids=lambda query: "{}={:.12}".format(*next(iter(query.items()))),
)  # fmt: skip
def test_no_query_string_breaks_a_list(get, query):
    customer("Anna", [1, 2])
    for name in ("account_list", "customer_list", "transaction_list"):
        assert get(name, **query).status_code == 200, name


def test_a_page_shows_at_most_a_hundred_rows(get):
    Account.objects.bulk_create(Account(account_id=number, limit=7, products=[]) for number in range(120))
    assert len(numbers(get("account_list", per_page=1000))) == 100


def test_every_sortable_column_has_an_index():
    for kind in RECORD_TYPES:
        table, model = kind.table, kind.model
        indexed = {
            field.name
            for field in model._meta.concrete_fields
            if getattr(field, "db_index", False) or field.primary_key
        }
        indexed |= {index.fields[0] for index in model._meta.indexes}
        sortable = {name for name, column in table.base_columns.items() if column.orderable is not False}
        assert {kind.columns[0]} <= sortable <= indexed
        assert all(table.base_columns[name].order_by[-1] == "pk" for name in sortable)


@pytest.mark.parametrize(("name", "most"), [("account_list", 7), ("customer_list", 7), ("transaction_list", 7)])
def test_a_list_takes_few_queries_for_any_number_of_rows(get, name, most, django_assert_max_num_queries):
    for number in range(12):
        customer(f"Anna {number}", [number])
    with django_assert_max_num_queries(most):
        get(name)


@pytest.mark.parametrize(("model", "most"), [(Account, 8), (Customer, 7), (Transaction, 6)])
def test_a_record_takes_few_queries(get, client, model, most, django_assert_max_num_queries):
    customer("Anna", list(range(10)))
    with django_assert_max_num_queries(most):
        client.get(model.objects.first().get_absolute_url())
