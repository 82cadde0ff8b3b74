"""The portal's and the admin's forms change only the fields that a user edited, and report conflicting edits."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from pymongo.database import Database

from accounts.models import User
from audit.models import Entry
from audit.values import exact, visible
from examples.news.models import Story
from finance.models import Account, Customer, Transaction
from finance.tests.people import customer
from sync.mapping.extended_json import restore
from sync.outbox.models import Change
from tests.browser_forms import edit_form

pytestmark = [pytest.mark.django_db, pytest.mark.engine]
CRLF = "1 Road\r\nLeeds\rUK\n"
PLACES = ("portal", "admin")


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "secret"))
    client.post("/reauthenticate/", {"password": "secret"})  # else the admin refuses changes of rights
    return client


class Page:
    """A page with a form, opened in a browser."""

    def __init__(self, client: Client, row: Any, place: str = "admin") -> None:
        meta = row._meta
        self.client = client
        self.address = f"/admin/{meta.app_label}/{meta.model_name}/{row.pk}/change/"
        if place == "portal":
            self.address = f"/finance/{meta.model_name}s/{row.pk}/edit/?edit=json"
        self.read(client.get(self.address))

    def read(self, answer: Any) -> Any:
        self.data = edit_form(answer.content.decode()).sent
        return answer

    def save(self, **changes: Any) -> Any:
        """Submits the form as it was opened, with these changes."""
        answer = self.client.post(self.address, {**self.data, **changes})
        return answer if answer.status_code == 302 else self.read(answer)


@pytest.fixture
def opened(root: Client) -> Callable[..., Page]:
    return lambda row, place="admin": Page(root, row, place)


@pytest.fixture
def anna() -> Customer:
    record = customer("Anna", [1])
    sql(Customer, record.pk, address=CRLF, name=" Anna e\u0301\u200b ", birthdate="2020-01-02 03:04:05.678901")
    return Customer.objects.get()


def sql(model: Any, pk: Any, **columns: Any) -> Any:
    """Writes by SQL, as another program does."""
    quoted = connection.ops.quote_name
    names = ", ".join(f"{quoted(model._meta.get_field(name).column)} = %s" for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quoted(model._meta.db_table)} SET {names} WHERE {quoted(model._meta.pk.column)} = %s",
            [*columns.values(), pk],
        )


def stored(model: Any, pk: Any) -> dict[str, Any]:
    """The bytes of each column, in hex."""
    quoted = connection.ops.quote_name
    columns = [field.column for field in model._meta.concrete_fields]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(f'HEX({quoted(column)})' for column in columns)} FROM {quoted(model._meta.db_table)} "
            f"WHERE {quoted(model._meta.pk.column)} = %s",
            [pk],
        )
        return dict(zip(columns, cursor.fetchone(), strict=True))


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


# --- unchanged ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_saving_an_unedited_customer_keeps_every_byte_and_logs_nothing(
    opened: Callable[..., Page], anna: Customer, place: str
) -> None:
    before, changes = stored(Customer, anna.pk), Change.objects.count()
    assert opened(anna, place).save(_save="Save").status_code == 302
    assert stored(Customer, anna.pk) == before
    assert Change.objects.count() == changes
    assert not Entry.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", PLACES)
def test_saving_an_unedited_customer_keeps_every_byte_of_its_document(
    opened: Callable[..., Page], mongo: Database, anna: Customer, place: str
) -> None:
    before = mongo.customers.find_one({"_id": ObjectId(anna.pk)})
    opened(anna, place).save()
    assert mongo.customers.find_one({"_id": ObjectId(anna.pk)}) == before


def test_the_admin_says_that_nothing_was_changed(root: Client, opened: Callable[..., Page], anna: Customer) -> None:
    answer = opened(anna).save(_save="Save")
    assert "Nothing was changed." in root.get(answer["Location"]).content.decode()


def test_saving_an_unedited_story_or_user_keeps_every_byte(opened: Callable[..., Page]) -> None:
    story = Story.objects.create(title="News ", submit_date=0, story_id="1", description=CRLF)
    person = User.objects.create_user("ada", "ada@example.com", role="customer")
    sql(User, person.pk, username="e\u0301va", first_name="\ufb01n ", address=CRLF, email=None)
    for row in (story, person):
        before = stored(type(row), row.pk)
        assert opened(row).save().status_code == 302
        assert stored(type(row), row.pk) == before


def test_saving_an_unedited_profile_keeps_every_byte(root: Client) -> None:
    person = User.objects.get()
    sql(User, person.pk, username="e\u0301va", first_name=" A", address=CRLF)
    before = stored(User, person.pk)
    data = edit_form(root.get("/profile/").content.decode()).sent
    assert root.post("/profile/", data).status_code == 302
    assert stored(User, person.pk) == before
    assert root.post("/profile/", {**data, "first_name": "Ada"}).status_code == 302
    assert changed(before, stored(User, person.pk)) == {"first_name"}


# --- edited ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("edit", "columns", "value"),
    [
        ({"email": "new@example.com"}, {"email"}, "new@example.com"),
        ({"address": "2 Road\r\nYork\rUK"}, {"address"}, "2 Road\nYork\nUK"),
        ({"accounts": "[1, 2]"}, {"accounts"}, [1, 2]),
        ({"tier_and_details": '{"x": {"tier": "Gold", "n": 1.0}}'}, {"tier_and_details"}, None),
    ],
    ids=str,
)
def test_an_edit_writes_only_its_own_column(
    opened: Callable[..., Page], anna: Customer, place: str, edit: Any, columns: set[str], value: Any
) -> None:
    before = stored(Customer, anna.pk)
    if place == "portal" and "accounts" in edit:
        edit = {"accounts": "1, 2"}
    assert opened(anna, place).save(**edit).status_code == 302
    assert changed(before, stored(Customer, anna.pk)) == columns
    [entry] = Entry.objects.all()
    assert set(entry.after) == columns
    for name in columns:
        assert value in (None, getattr(Customer.objects.get(), name))


@pytest.mark.parametrize(
    ("products", "is_edit"), [('[ "a",1.5 ]', False), ('["a", 1.50]', False), ('["a", 1.5, {}]', True)]
)
def test_json_is_compared_by_value_and_not_by_spelling(
    opened: Callable[..., Page], products: str, is_edit: bool
) -> None:
    account = Story.objects.create(title="News", submit_date=0, story_id="1", shorturl=["a", 1.5], href="http://a.b")
    sql(Story, account.pk, link="http://a.b", media="news", status="popular")
    before = stored(Story, account.pk)
    assert opened(account).save(shorturl=products).status_code == 302
    assert changed(before, stored(Story, account.pk)) == ({"shorturl"} if is_edit else set())


@pytest.mark.parametrize(
    "text", ['{"a": 1.0, "b": 2}', '{"a": {"$numberLong": "1"}, "b": 2}', '{"b": 2, "a": 1}', '{"a": true, "b": 2}']
)
def test_a_changed_number_type_or_key_order_is_an_edit_and_is_logged(
    opened: Callable[..., Page], anna: Customer, text: str
) -> None:
    tiers = {"t": {"a": 1, "b": 2}}
    Customer.objects.filter(pk=anna.pk).update(tier_and_details=tiers)
    opened(anna, "portal").save(tier_and_details=f'{{"t": {text}}}')
    assert exact(Customer.objects.get().tier_and_details) == exact({"t": restore(json.loads(text))})
    assert Entry.objects.count() == 1


def test_editing_the_visible_part_of_a_value_keeps_its_hidden_part(opened: Callable[..., Page], anna: Customer) -> None:
    opened(anna, "portal").save(birthdate="1990-05-06")
    record = Customer.objects.get()
    assert record.birthdate == datetime.datetime(1990, 5, 6, 3, 4, 5, 678901, tzinfo=datetime.UTC)
    opened(anna, "admin").save(birthdate_0="1991-05-06")
    record = Customer.objects.get()
    assert record.birthdate == datetime.datetime(1991, 5, 6, 3, 4, 5, 678901, tzinfo=datetime.UTC)
    opened(anna, "admin").save(birthdate_1="03:04:06")
    assert Customer.objects.get().birthdate == datetime.datetime(1991, 5, 6, 3, 4, 6, tzinfo=datetime.UTC)


def test_an_invalid_stored_value_does_not_prevent_editing_another_field(
    opened: Callable[..., Page], anna: Customer
) -> None:
    sql(Customer, anna.pk, email="none", username="", tier_and_details='{"t": {"benefits": 5}}', active=2)
    before = stored(Customer, anna.pk)
    for place in PLACES:
        assert opened(anna, place).save(name=f"Anne of the {place}").status_code == 302
        assert changed(before, stored(Customer, anna.pk)) == {"name"}


def test_cleaning_a_user_does_not_touch_unedited_fields(opened: Callable[..., Page]) -> None:
    person = User.objects.create_user("ada", "ada@example.com")
    sql(User, person.pk, username="e\u0301va", email="Ada@EXAMPLE.com")
    before = stored(User, person.pk)
    opened(person).save(first_name="Ada", role="senior_management")
    assert changed(before, stored(User, person.pk)) == {"first_name", "role"}


# --- conflicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("portal", "admin"), ("admin", "portal"), ("admin", "admin")])
def test_the_second_user_to_save_sees_the_conflict_and_decides(
    opened: Callable[..., Page], anna: Customer, first: str, second: str
) -> None:
    page = opened(anna, second)
    opened(anna, first).save(name="Anne", email="anne@example.com")
    before = stored(Customer, anna.pk)
    answer = page.save(email="anna@example.net", address="2 Road")
    assert answer.status_code == 409
    text = answer.content.decode()
    assert "root" in text
    assert "Stored now: Name: Anne; Email: anne@example.com." in text
    assert stored(Customer, anna.pk) == before
    assert Entry.objects.count() == 1
    assert page.data["email"] == ["anna@example.net"], "the user's own input is kept"
    assert page.data["name"] == [Customer.objects.get().name], "untouched fields show the stored value"
    assert page.save().status_code == 302
    record = Customer.objects.get()
    assert (record.name, record.email, record.address) == ("Anne", "anna@example.net", "2 Road")
    assert changed(before, stored(Customer, anna.pk)) == {"email", "address"}


def test_a_conflict_with_raw_sql_names_nobody(opened: Callable[..., Page], anna: Customer) -> None:
    page = opened(anna)
    sql(Customer, anna.pk, name="Anne")
    answer = page.save(email="x@example.com")
    assert (answer.status_code, "Another user changed this record" in answer.content.decode()) == (409, True)


@pytest.mark.parametrize("version", ["", "x", "é", "0" * 24, ".".join(["0" * 24] * 9), "\x00"])
@pytest.mark.parametrize("place", PLACES)
def test_a_forged_version_is_a_conflict(opened: Callable[..., Page], anna: Customer, place: str, version: str) -> None:
    page = opened(anna, place)
    assert page.save(name="Forged", version=version).status_code == 409
    assert Customer.objects.get().name != "Forged"


def test_user_edits_conflict_like_records_but_a_login_does_not(opened: Callable[..., Page]) -> None:
    person = User.objects.create_user("ada", "ada@example.com", role="customer")
    page, other = opened(person), opened(person)
    sql(User, person.pk, last_login="2020-01-01 00:00:00")
    assert other.save(role="senior_management").status_code == 302
    answer = page.save(first_name="Ada")
    assert answer.status_code == 409
    assert page.save().status_code == 302
    person.refresh_from_db()
    assert (person.first_name, person.role) == ("Ada", "senior_management")


def test_a_profile_edited_meanwhile_by_staff_is_a_conflict(root: Client, opened: Callable[..., Page]) -> None:
    person = User.objects.create_user("ada", "ada@example.com")
    own = Client()
    own.force_login(person)
    data = edit_form(own.get("/profile/").content.decode()).sent
    opened(person).save(last_name="Lovelace")
    answer = own.post("/profile/", {**data, "first_name": "Ada"})
    assert answer.status_code == 409
    assert own.post("/profile/", edit_form(answer.content.decode()).sent).status_code == 302
    person.refresh_from_db()
    assert (person.first_name, person.last_name) == ("Ada", "Lovelace")


def test_editing_trades_while_their_account_number_changes_is_a_conflict(opened: Callable[..., Page]) -> None:
    customer("Anna", [1])
    bucket = Transaction.objects.get()
    page = opened(bucket, "portal")
    opened(bucket, "admin").save(account_id="2")
    assert page.save(transactions="[]").status_code in (200, 409)
    assert Transaction.objects.get().transactions == bucket.transactions


# --- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\r\nb", "a␍⏎b"),
        (" a ", "␣a␣"),
        ("   ", "␣␣␣"),
        ("a b", "a b"),
        ("\u200b\ufeff", "⟨U+200B⟩⟨U+FEFF⟩"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("e\u0301 \U0001f600", "e\u0301 \U0001f600"),
        ("\0\x7f", "⟨U+0000⟩⟨U+007F⟩"),
    ],
)
def test_invisible_characters_are_spelled_out(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_the_audit_log_shows_invisible_characters(root: Client, opened: Callable[..., Page], anna: Customer) -> None:
    opened(anna, "portal").save(address="1 Road\r\nLeeds\u202e")
    text = root.get("/audit/").content.decode()
    assert "1 Road␍⏎Leeds␍UK⏎" in text
    assert "1 Road⏎Leeds⟨U+202E⟩" in text


def test_an_account_with_malformed_products_can_be_edited(opened: Callable[..., Page]) -> None:
    account = Account.objects.create(account_id=1, limit=5)
    for products in ("null", "5", '{"a": 1}', '[1, null, ["x"]]', '["\\ud800"]', '[""]', '["a", "a", "Zinc "]'):
        sql(Account, account.pk, products=products)
        before = stored(Account, account.pk)
        assert opened(account, "portal").save(limit="6").status_code == 302
        assert changed(before, stored(Account, account.pk)) == {"limit"}, products
        sql(Account, account.pk, limit=5)
