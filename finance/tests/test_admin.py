"""The financial records in the admin."""

import pytest
from bson import Int64
from django.contrib.auth import get_user_model
from django.urls import reverse

from finance.models import Account, Customer, Transaction
from finance.tests.people import customer

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]


@pytest.fixture
def staff(client):
    boss = get_user_model().objects.create_superuser("boss", "boss@example.com", "secret")
    client.force_login(boss)
    return client


def address(name, model, *arguments):
    return reverse(f"admin:finance_{model._meta.model_name}_{name}", args=arguments)


def posted(response, **changes):
    """The data that the form would post, with these changes."""
    form = response.context["adminform"].form
    data: dict[str, object] = {}
    for field in form:
        value = field.value()
        if field.name == "birthdate" or field.name.startswith("bucket"):
            data |= {f"{field.name}_0": f"{value:%Y-%m-%d}", f"{field.name}_1": f"{value:%H:%M:%S}"}
        else:
            data[field.name] = "" if value is None else value
    return data | changes


@pytest.mark.parametrize("model", [Account, Customer, Transaction])
def test_lists_and_searches_need_few_queries(staff, model, django_assert_max_num_queries):
    for number in range(10):
        customer(f"Anna {number}", [number])
    with django_assert_max_num_queries(9):
        assert staff.get(address("changelist", model)).status_code == 200
    for text in ("3", "Anna", "x" * 300, "9" * 50, "%", model.objects.first().pk):
        assert staff.get(address("changelist", model), {"q": text}).status_code == 200


def test_the_search_matches_numbers_ids_and_prefixes_of_names(staff):
    anna, bert = customer("Anna Blum", [1]), customer("Bert Baum", [2])
    bucket = Transaction.objects.get(account_id=2)
    for model, text, found in (
        (Account, " 2 ", [Account.objects.get(account_id=2)]),
        (Account, "02x", []),
        (Customer, "anna b", [anna]),
        (Customer, bert.pk, [bert]),
        (Transaction, "2", [bucket]),
        (Transaction, bucket.pk, [bucket]),
    ):
        response = staff.get(address("changelist", model), {"q": text})
        assert list(response.context["cl"].result_list) == found, text


def test_a_long_list_is_capped_and_refuses_actions_on_all_rows(staff, monkeypatch):
    monkeypatch.setattr("finance.admin.MOST", 4)
    accounts = Account.objects.bulk_create([Account(account_id=number, limit=5) for number in range(6)])
    page = address("changelist", Account)
    assert staff.get(page).context["cl"].result_count == 4
    act = {"action": "delete_selected", "select_across": "1", "_selected_action": [accounts[0].pk], "post": "yes"}
    assert b"More than 4 rows" in staff.post(page, act, follow=True).content
    assert Account.objects.count() == 6
    staff.post(f"{page}?q=3", act)
    assert {account.account_id for account in Account.objects.all()} == {0, 1, 2, 4, 5}


def test_staff_can_link_a_customer_to_a_user(staff):
    record = customer("Anna", [1])
    user = get_user_model().objects.create_user("anna", "a@example.com")
    page = address("change", Customer, record.pk)
    response = staff.post(page, posted(staff.get(page), user=user.pk))
    assert response.status_code == 302, response.context["adminform"].form.errors
    record.refresh_from_db()
    assert record.user == user


def test_unchanged_fields_keep_their_type(staff):
    account = Account.objects.create(account_id=1, limit=5, products=["Brokerage"], extra={"note": Int64(7)})
    page = address("change", Account, account.pk)
    assert staff.post(page, posted(staff.get(page), limit=6)).status_code == 302
    account.refresh_from_db()
    assert (account.limit, account.products, type(account.extra["note"])) == (6, ["Brokerage"], Int64)


@pytest.mark.parametrize(
    "text",
    ["", "{", "5", '["a", 5]', '[{"$where": 1}]', r'["\ud800"]', '[{"$oid": "x"}]', "[" * 100_000, '["\\u0000"'],
    ids=lambda text: text[:12],
)
def test_invalid_products_are_rejected(staff, text):
    account = Account.objects.create(account_id=1, limit=5, products=["Brokerage"])
    page = address("change", Account, account.pk)
    response = staff.post(page, posted(staff.get(page), products=text))
    account.refresh_from_db()
    if text:
        assert "products" in response.context["adminform"].form.errors
        assert account.products == ["Brokerage"]
    else:
        assert account.products == []


def test_dates_in_trades_are_preserved(staff):
    record = customer("Anna", [1])
    bucket = Transaction.objects.get(account_id=record.accounts[0])
    before = bucket.transactions
    page = address("change", Transaction, bucket.pk)
    assert staff.post(page, posted(staff.get(page), transaction_count=9)).status_code == 302
    bucket.refresh_from_db()
    assert (bucket.transaction_count, bucket.transactions) == (9, before)
