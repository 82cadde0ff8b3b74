"""A form accepts only values that arithmetic, BSON, columns, audit log, pages, charts and CSV can all handle."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.urls import reverse

from audit.models import Entry
from finance.models import Account, Customer, Transaction
from finance.tests.people import customer, user
from tests.browser_forms import edit_form

pytestmark = [pytest.mark.django_db, pytest.mark.engine, pytest.mark.slow]
DATE = {"$date": "2020-01-31T00:00:00Z"}
PAGES = ("customer_dashboard", "own_trades", "account_list", "customer_list")


@pytest.fixture
def owner(client):
    owner = user("customer")
    customer("Anna", [1], linked=owner)
    return owner


@pytest.fixture
def edit(client, owner):
    """Edits Anna's record or her trades in the portal."""
    client.force_login(user("technician"))

    def send(model, **data):
        record = model.objects.get()
        page = reverse(f"finance:{model._meta.model_name}_edit", args=[record.pk]) + "?edit=json"
        return client.post(page, {**edit_form(client.get(page).content.decode()).sent, **data})

    return send


def pages_show(client, owner):
    """Whether all of Anna's pages, charts and exports, and the page of her trades for staff, respond with 200."""
    record, bucket = Customer.objects.get(), Transaction.objects.get()
    client.force_login(get_user_model().objects.filter(username="technician").first() or user("technician"))
    answers = [client.get(bucket.get_absolute_url())]
    client.force_login(owner)
    answers += [client.get(reverse(f"finance:{page}")) for page in PAGES]
    answers += [client.get(record.get_absolute_url()), client.get(Account.objects.get().get_absolute_url())]
    for chart in ("value", "holdings"):
        answers.append(client.get(reverse("finance:customer_chart", args=[record.pk, chart])))
    answers.append(client.get(reverse("finance:customer_trades", args=[record.pk])))
    for answer in answers:
        _body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return [answer.status_code for answer in answers] == [200] * len(answers)


def trade(**values):
    return json.dumps(
        [{"date": DATE, "amount": 2, "transaction_code": "buy", "symbol": "sap", "price": "1", "total": "2"} | values]
    )


@pytest.mark.parametrize(
    "number",
    [
        "1E+999999999",
        "1E+6200",
        "-1E+60",
        "1E-999999",
        "0E+999999999",
        "NaN",
        "sNaN",
        "-Infinity",
        "9" * 200,
        {"$numberDecimal": "abc"},
        {"$numberDecimal": "1E+6200"},
        {"$numberDecimal": "1" * 40},
        {"$numberDecimal": "9.99E+6144"},
        {"$numberDecimal": "NaN"},
        {"$numberDecimal": 5},
        {"$numberDecimal": []},
        {"$numberDouble": "1e400"},
        {"$numberLong": "9" * 30},
        1e308,
        [],
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["total", "price"])
def test_a_number_that_cannot_be_computed_with_is_a_form_error(client, edit, owner, name, number):
    answer = edit(Transaction, transactions=trade(**{name: number}))
    assert answer.status_code == 200
    assert "transactions" in answer.context["form"].errors
    assert pages_show(client, owner)


@pytest.mark.parametrize("number", ["9.99E+59", "0." + "3" * 50, "-" + "1" * 50, {"$numberDecimal": "1" * 34}], ids=str)
def test_the_largest_accepted_numbers_are_shown_on_all_pages(client, edit, owner, number):
    trades = trade(total=number, price=number, amount={"$numberLong": str(2**63 - 1)})
    assert edit(Transaction, transactions=trades).status_code == 302
    assert pages_show(client, owner)


@pytest.mark.parametrize(
    "date",
    [
        "2020-01-31",
        {"$date": {"$numberLong": "999999999999999999"}},
        {"$date": {"$numberLong": "9" * 25}},
        {"$date": "99999-01-01T00:00:00Z"},
        {"$date": "0000-00-00T00:00:00Z"},
        {"$date": {}},
        {"$date": "2020-01-31T00:00:00.000001Z"},
        {"$date": "0001-01-01T00:00:00+14:00"},
        {"$date": "x" * 10_000},
    ],
    ids=lambda date: str(date)[:40],
)
def test_an_invalid_date_is_a_form_error(client, edit, owner, date):
    answer = edit(Transaction, transactions=trade(date=date))
    assert (answer.status_code, "transactions" in answer.context["form"].errors) == (200, True)
    assert pages_show(client, owner)


def nested(levels, kind="["):
    return "[" * levels + "]" * levels if kind == "[" else '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize("kind", ["[", "{"])
@pytest.mark.parametrize("levels", [10, 18, 19, 28, 29, 30, 31, 32, 33, 60, 96, 100, 101, 1000, 100_000])
def test_a_deeply_nested_document_is_stored_and_logged_or_is_a_form_error(client, edit, owner, levels, kind):
    before = Customer.objects.get().tier_and_details
    answer = edit(Customer, tier_and_details=f'{{"t": {{"tier": "Gold", "deep": {nested(levels, kind)}}}}}')
    most = 31 if connection.vendor == "mysql" and connection.mysql_is_mariadb else 99
    if levels + 2 <= most:
        assert answer.status_code == 302
        assert Entry.objects.get().after["tier_and_details"]
    else:
        assert "tier_and_details" in answer.context["form"].errors
        assert Customer.objects.get().tier_and_details == before
    assert pages_show(client, owner)


@pytest.mark.parametrize(
    "text",
    [
        '{"a\\u0000b": {}}',
        '{"$where": {}}',
        '{"t": {"x": "\\ud800"}}',
        '{"t": {"\\udfff": 1}}',
        '{"t": {"x": 1e400}}',
        '{"t": {"x": NaN}}',
        '{"t": {"x": 99999999999999999999}}',
        '{"t": {"x": {"$oid": "1"}}}',
        '{"t": {"x": {"$regularExpression": {"pattern": "a\\u0000", "options": ""}}}}',
        '{"t": {"x": {"$binary": 1}}}',
        '{"t": {"x": {"$timestamp": {"t": -1, "i": 1}}}}',
        '{"t": {"x": {"$uuid": "x"}}}',
        '{"t": 1}',
        "[]",
        "\x00",
    ],
)
def test_a_document_is_stored_exactly_or_is_a_form_error(client, edit, owner, text):
    answer = edit(Customer, tier_and_details=text)
    assert answer.status_code in (200, 302)
    assert answer.status_code == 302 or "tier_and_details" in answer.context["form"].errors
    Customer.objects.get().to_document()
    assert pages_show(client, owner)
