"""A row damaged by SQL: its page shows the stored text and why it cannot be read, and its form can repair it."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

import pytest
from bson import Int64
from django.db import connection
from django.test import Client
from django.urls import reverse

from audit.models import Entry
from finance.models import Account, Customer, Transaction
from finance.tests.damage import damage
from finance.tests.people import customer, user

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]


def stored(table: str, column: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT CAST({column} AS CHAR) FROM {table}")
        return str(cursor.fetchone()[0])


@pytest.fixture
def staff(client: Client) -> Client:
    customer("Own", [1])
    client.force_login(user("technician"))
    return client


@pytest.mark.parametrize(
    ("kind", "column", "value", "why"),
    [
        ("account", "products", "[broken", "is not JSON"),
        ("account", "products", "1e400", "does not fit a double"),
        ("account", "products", '{"a": 1}', "must be an array"),
        ("account", "extra", "[broken", "is not JSON"),
        ("customer", "birthdate", "2024-02-31 00:00:00", "is not a valid date"),
        ("customer", "birthdate", "0000-00-00 00:00:00", "is not a valid date"),
        ("customer", "active", 2, "is not true or false"),
        ("customer", "accounts", "7", "must be an array"),
        ("customer", "tier_and_details", "[1]", "must be an object"),
        ("transaction", "transactions", '["\\ud800"]', "lone surrogate"),
        ("transaction", "bucket_end_date", "2024-00-10 00:00:00", "is not a valid date"),
    ],
)
def test_the_page_of_a_damaged_row_shows_the_stored_text_and_the_reason(
    staff: Client, kind: str, column: str, value: Any, why: str
) -> None:
    damage(f"finance_{kind}", column, value)
    [row] = {"account": Account, "customer": Customer, "transaction": Transaction}[kind].objects.all()
    page = staff.get(row.get_absolute_url())
    assert page.status_code == 200
    [(_label, text, reason)] = page.context["unreadable"]
    assert text.startswith(str(value)[:16])
    assert why in reason
    assert why.replace("'", "&#x27;") in page.content.decode()
    lists = staff.get(reverse(f"finance:{kind}_list"))
    is_deferred = column in ("extra", "transactions")
    assert ("1 record could not be read in full" in lists.content.decode()) != is_deferred


def test_the_form_of_a_damaged_row_can_repair_it(staff: Client) -> None:
    damage("finance_customer", "birthdate", "2024-02-31 00:00:00")
    [row] = Customer.objects.all()
    address = reverse("finance:customer_edit", args=[row.pk])
    page: Any = staff.get(address, {"edit": "json"})
    text = page.content.decode()
    assert "2024-02-31" in text
    form = page.context["form"]
    sent = {name: form[name].value() for name in form.fields}
    sent |= {"version": form.initial["version"], "accounts": "1", "active": "unknown", "birthdate": "2024-02-29"}
    sent["tier_and_details"] = form["tier_and_details"].value()
    sent = {name: "" if value is None else value for name, value in sent.items()}
    sent["tier_and_details"] = form.fields["tier_and_details"].prepare_value(form.initial["tier_and_details"])
    assert staff.post(address, sent).status_code == 302
    assert stored("finance_customer", "birthdate").startswith("2024-02-29 00:00:00")
    assert Entry.objects.get().before["birthdate"].startswith("2024-02-31")


def test_saving_another_field_leaves_the_unreadable_one_as_stored(staff: Client) -> None:
    damage("finance_account", "extra", "[broken")
    [row] = Account.objects.all()
    address = reverse("finance:account_edit", args=[row.pk])
    version = staff.get(address).context["form"].initial["version"]
    page: Any = staff.post(address, {"limit": "5", "products": ["Brokerage"], "version": version})
    assert page.status_code == 302
    assert (stored("finance_account", "extra"), stored("finance_account", "`limit`")) == ("[broken", "5")


def test_an_export_has_the_stored_text_and_counts_unreadable_rows(staff: Client) -> None:
    damage("finance_account", "products", "[broken")
    answer: Any = staff.get(reverse("finance:account_export"))
    _header, row, note = csv.reader(io.StringIO(b"".join(answer.streaming_content).decode(), newline=""))
    assert row[3] == "[broken"
    assert note == ["1 record could not be read in full."]


def test_account_numbers_are_filtered_quickly_for_any_types() -> None:
    """BSON's 64-bit integer is a separate type. Testing whether it is in a range would iterate over the range."""
    odd = [Int64(2**40), Int64(7), 8, True, 2**31, "9", 1.0, None, [1]]
    before = time.process_time()
    assert Customer(accounts=odd).account_numbers == [7, 8]
    assert time.process_time() - before < 1


def test_customers_are_told_which_trades_are_missing_from_their_totals(client: Client) -> None:
    own = user("customer")
    customer("Own", [1], linked=own)
    damage("finance_transaction", "transactions", "[broken")
    client.force_login(own)
    page: Any = client.get(reverse("finance:customer_dashboard"))
    assert "1 trade or list of trades cannot be read in full" in page.content.decode()
    answer: Any = client.get(reverse("finance:customer_trades", args=[own.customer.pk]))
    assert b"could not be read in full" in b"".join(answer.streaming_content)
