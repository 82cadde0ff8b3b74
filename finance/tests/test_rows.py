"""Trades and tiers are edited as rows. What nobody edits, and what the table does not show, stays as it is stored."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from bson import Decimal128, Int64
from bson.tz_util import utc
from django.contrib.auth import get_user_model
from django.test import Client

from audit.models import Entry
from audit.values import exact
from finance.models import Customer, Transaction
from finance.rows import MOST_ROWS
from tests.browser_forms import edit_form

pytestmark = pytest.mark.django_db

DAY = datetime.datetime(2020, 1, 2, tzinfo=utc)
PRICE = "19.1072802650074180519368383102118968963623046875"
TRADE = {
    "date": DAY, "amount": 2, "transaction_code": "buy", "symbol": "adbe", "price": PRICE, "total": "38.2",
    "broker": {"id": Int64(7), "share": 1.0},
}  # fmt: skip
OTHER = TRADE | {
    "date": DAY.replace(hour=3, second=5, microsecond=250000), "amount": Int64(5), "price": Decimal128("1.50"),
    "total": Decimal128("7.50"), "transaction_code": "short",
}  # fmt: skip
GOLD = {"tier": "Gold", "id": "t1", "active": True, "benefits": ["sports tickets"], "since": Int64(3)}


@pytest.fixture
def editor(client: Client) -> Client:
    user = get_user_model().objects.create_user("theo", "theo@example.org", "secret", role="technical_worker")
    client.force_login(user)
    return client


@pytest.fixture
def bucket() -> Transaction:
    return Transaction.objects.create(
        account_id=1, transaction_count=2, bucket_start_date=DAY, bucket_end_date=DAY, transactions=[TRADE, OTHER]
    )


class Page:
    """An edit page in a browser without JavaScript."""

    def __init__(self, client: Client, row: Any, query: str = "") -> None:
        self.client = client
        self.address = f"/finance/{row._meta.model_name}s/{row.pk}/edit/{query}"
        self.read(client.get(self.address))

    def read(self, answer: Any) -> Any:
        self.html = answer.content.decode()
        self.data = edit_form(self.html).sent
        return answer

    def send(self, **changes: Any) -> Any:
        """Submits the page with these changes; `prefix__0__cell` stands for `prefix-0-cell`."""
        sent = {name.replace("__", "-"): value for name, value in changes.items()}
        data = {name: value for name, value in ({**self.data, **sent}).items() if value is not None}
        answer = self.client.post(self.address, data)
        return answer if answer.status_code == 302 else self.read(answer)


def stored() -> list[Any]:
    return Transaction.objects.get().transactions


def test_saving_without_edits_changes_nothing(editor: Client, bucket: Transaction) -> None:
    assert Page(editor, bucket).send().status_code == 302
    assert exact(stored()) == exact([TRADE, OTHER])
    assert not Entry.objects.exists()


def test_an_edited_quantity_changes_the_total_exactly_and_nothing_else(editor: Client, bucket: Transaction) -> None:
    Page(editor, bucket).send(transactions__0__quantity="3")
    total = "57.3218407950222541558105149306356906890869140625"
    assert exact(stored()) == exact([TRADE | {"amount": 3, "total": total}, OTHER])


def test_an_edited_symbol_keeps_a_total_that_is_not_the_product(editor: Client, bucket: Transaction) -> None:
    Page(editor, bucket).send(transactions__0__symbol="MSFT")
    assert exact(stored()) == exact([TRADE | {"symbol": "msft"}, OTHER])


def test_numbers_keep_their_types(editor: Client, bucket: Transaction) -> None:
    Page(editor, bucket).send(transactions__1__quantity="4", transactions__1__price="2.25")
    changed = OTHER | {"amount": Int64(4), "price": Decimal128("2.25"), "total": Decimal128("9.00")}
    assert exact(stored()) == exact([TRADE, changed])


def test_a_moment_keeps_its_fraction_unless_it_is_edited(editor: Client, bucket: Transaction) -> None:
    Page(editor, bucket).send(transactions__0__date="2020-02-03T04:05")
    assert [trade["date"] for trade in stored()] == [
        datetime.datetime(2020, 2, 3, 4, 5, tzinfo=utc),
        OTHER["date"],
    ]
    record = Transaction.objects.get()
    assert (record.bucket_start_date, record.bucket_end_date) == (OTHER["date"], stored()[0]["date"])


def test_without_javascript_a_row_is_added_copied_and_removed(editor: Client, bucket: Transaction) -> None:
    page = Page(editor, bucket)
    answer = page.send(**{"transactions-add": "1", "transactions__0__quantity": "x"})
    assert answer.status_code == 200
    assert "highlighted" not in page.html, "nothing is wrong before the form is saved"
    assert exact(stored()) == exact([TRADE, OTHER]), "nothing is saved"
    new = {"date": "2020-03-01", "symbol": "amd", "side": "sell", "quantity": "10", "price": "0.5"}
    page.send(
        **{f"transactions-2-{cell}": value for cell, value in new.items()},
        **{"transactions__0__quantity": "2", "transactions-1-remove": "on"},
    )
    fresh = {
        "date": datetime.datetime(2020, 3, 1, tzinfo=utc), "amount": 10, "transaction_code": "sell",
        "symbol": "amd", "price": "0.5", "total": "5.0",
    }  # fmt: skip
    assert exact(stored()) == exact([TRADE, fresh])
    assert Transaction.objects.get().transaction_count == 2
    page = Page(editor, bucket)
    page.send(**{"transactions-copy": "0"})
    page.send(transactions__1__quantity="4")
    assert stored()[1]["broker"] == TRADE["broker"], "a copy has the further fields"
    assert [trade["amount"] for trade in stored()] == [2, 4, 10]


@pytest.mark.parametrize("missing", ["price", "amount"])
def test_a_null_that_another_program_stored_is_named_when_the_trade_is_edited(
    editor: Client, bucket: Transaction, missing: str
) -> None:
    trades = [TRADE | {missing: None}]
    Transaction.objects.filter(pk=bucket.pk).update(transactions=trades)
    page = Page(editor, bucket)
    cell, text = ("quantity", "3") if missing == "price" else ("price", "3.5")
    assert page.send(**{f"transactions-0-{cell}": text}).status_code == 200
    assert f"{missing} has the wrong type" in page.html
    assert exact(stored()) == exact(trades)


def test_a_total_that_its_type_cannot_hold_is_an_error_at_the_cell(editor: Client, bucket: Transaction) -> None:
    exact_price = OTHER | {"price": Decimal128("1." + "3" * 33)}
    Transaction.objects.filter(pk=bucket.pk).update(transactions=[exact_price])
    page = Page(editor, bucket)
    assert page.send(transactions__0__quantity="123456789").status_code == 200
    assert 'id="transactions-0-price-error"' in page.html
    assert exact(stored()) == exact([exact_price])


def test_an_empty_new_row_is_ignored(editor: Client, bucket: Transaction) -> None:
    page = Page(editor, bucket)
    page.send(**{"transactions-add": "1"})
    assert page.send().status_code == 302
    assert exact(stored()) == exact([TRADE, OTHER])


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("date", ""), ("date", "yesterday"), ("date", "0001-01-01T00:00"), ("symbol", ""), ("symbol", "x" * 21),
        ("side", "hold"), ("quantity", "0"), ("quantity", "-1"), ("quantity", "1.5"), ("quantity", "9" * 19),
        ("price", "-1"), ("price", "1e5"), ("price", "1,5"), ("price", "NaN"), ("price", "9" * 61),
    ],
)  # fmt: skip
def test_an_error_is_shown_at_its_cell_and_nothing_is_saved(
    editor: Client, bucket: Transaction, cell: str, text: str
) -> None:
    page = Page(editor, bucket)
    assert page.send(**{f"transactions-0-{cell}": text}).status_code == 200
    assert f'id="transactions-0-{cell}-error"' in page.html
    assert page.html.count('-error" class="invalid') + page.html.count('d-block" id="') == 1
    assert exact(stored()) == exact([TRADE, OTHER])
    assert page.data[f"transactions-0-{cell}"] == [text]


def test_a_bucket_needs_a_trade_with_a_date(editor: Client, bucket: Transaction) -> None:
    page = Page(editor, bucket)
    assert page.send(**{"transactions-0-remove": "on", "transactions-1-remove": "on"}).status_code == 200
    assert "at least one trade" in page.html
    assert exact(stored()) == exact([TRADE, OTHER])


@pytest.mark.parametrize(
    "trades",
    [
        [TRADE | {"symbol": 5}], [TRADE | {"price": 1.5}], [TRADE | {"amount": 1.0}], [TRADE | {"symbol": " adbe"}],
        ["x"], [TRADE | {"date": "2020"}], [TRADE] * (MOST_ROWS + 1),
    ],
    ids=range(7),
)  # fmt: skip
def test_what_a_table_cannot_show_is_edited_as_json(editor: Client, bucket: Transaction, trades: Any) -> None:
    Transaction.objects.filter(pk=bucket.pk).update(transactions=trades)
    page = Page(editor, bucket)
    assert "edited as JSON" in page.html
    assert "transactions-0-stored" not in page.data
    assert page.send().status_code == 302
    assert exact(stored()) == exact(trades)


def test_json_shows_dates_as_people_write_them_and_reads_the_same_values(editor: Client, bucket: Transaction) -> None:
    page = Page(editor, bucket, "?edit=json")
    text = page.data["transactions"][0].replace("\r\n", "\n")
    assert '"$date": "2020-01-02T00:00:00Z"' in text
    assert '"$date": "2020-01-02T03:00:05.250Z"' in text
    assert "\n  {\n    " in text, "it is indented"
    assert page.send(transactions=text.replace('"adbe"', '"amd"', 1)).status_code == 302
    assert exact(stored()) == exact([TRADE | {"symbol": "amd"}, OTHER])


def test_an_error_in_json_has_its_place(editor: Client, bucket: Transaction) -> None:
    page = Page(editor, bucket, "?edit=json")
    page.send(transactions='[\n  {"date" 1}\n]')
    assert "line 2, column 11" in page.html


def test_another_users_change_is_a_conflict_and_keeps_what_was_typed(editor: Client, bucket: Transaction) -> None:
    page = Page(editor, bucket)
    Transaction.objects.filter(pk=bucket.pk).update(transactions=[TRADE])
    answer = page.send(transactions__0__quantity="9")
    assert answer.status_code == 409
    assert "1 trade" in page.html
    assert page.data["transactions-0-quantity"] == ["9"]
    assert exact(stored()) == exact([TRADE])


def test_after_a_conflict_rows_that_another_user_removed_do_not_come_back(editor: Client, bucket: Transaction) -> None:
    Customer.objects.create(name="Ann", username="ann", birthdate=DAY, tier_and_details={"t1": GOLD, "t2": GOLD})
    record = Customer.objects.get()
    page = Page(editor, record)
    Customer.objects.filter(pk=record.pk).update(tier_and_details={"t1": GOLD})
    assert page.send(name="Anne").status_code == 409
    assert page.send().status_code == 302
    assert exact(Customer.objects.get().tier_and_details) == exact({"t1": GOLD})


def test_a_damaged_row_is_refused(editor: Client, bucket: Transaction) -> None:
    page = Page(editor, bucket)
    for damaged in ("{", "[]", '{"date": {"$date": []}}', '"x"', "1"):
        assert page.send(**{"transactions-0-stored": damaged}).status_code == 200
    assert exact(stored()) == exact([TRADE, OTHER])


def test_tiers_have_a_form_of_their_own(editor: Client) -> None:
    record = Customer.objects.create(name="Ann", username="ann", birthdate=DAY, tier_and_details={"t1": GOLD})
    page = Page(editor, record)
    page.send(**{"tier_and_details-add": "1"})
    page.send(**{
        "tier_and_details-0-benefits": "sports tickets\r\n\r\n car rental insurance \r\n",
        "tier_and_details-1-name": "Silver", "tier_and_details-1-active": "on",
    })  # fmt: skip
    tiers = Customer.objects.get().tier_and_details
    assert exact(tiers.pop("t1")) == exact(GOLD | {"benefits": ["sports tickets", "car rental insurance"]})
    [(key, silver)] = tiers.items()
    assert silver == {"tier": "Silver", "id": key, "active": True, "benefits": []}
    page = Page(editor, record)
    page.send(**{"tier_and_details-0-active": None, "tier_and_details-1-remove": "on"})
    kept = GOLD | {"benefits": ["sports tickets", "car rental insurance"], "active": False}
    assert json.dumps(Customer.objects.get().tier_and_details, default=str) == json.dumps({"t1": kept}, default=str)


@pytest.mark.parametrize("damaged", ["[{}, {}]", '[["x"], {}]', "[1, {}]", '["x"]', '{"x": 1}', "[" * 5000])
def test_a_damaged_tier_is_refused(editor: Client, damaged: str) -> None:
    record = Customer.objects.create(name="Ann", username="ann", birthdate=DAY, tier_and_details={"t1": GOLD})
    page = Page(editor, record)
    assert page.send(**{"tier_and_details-0-stored": damaged, "tier_and_details-0-name": "x"}).status_code == 200
    assert exact(Customer.objects.get().tier_and_details) == exact({"t1": GOLD})


def test_a_tier_needs_a_name(editor: Client) -> None:
    record = Customer.objects.create(name="Ann", username="ann", birthdate=DAY, tier_and_details={"t1": GOLD})
    page = Page(editor, record)
    assert page.send(**{"tier_and_details-0-name": ""}).status_code == 200
    assert 'id="tier_and_details-0-name-error"' in page.html
