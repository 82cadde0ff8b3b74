"""What a record type declaration provides, and its defaults."""

import re

import pytest
from django.contrib import admin
from django.urls import reverse

from finance.models import Account, Record, RecordQuerySet
from finance.record_types import RECORD_TYPES
from finance.record_types.base import PAGES
from finance.tests.people import customer, user
from finance.urls import urlpatterns

pytestmark = pytest.mark.django_db


def test_each_record_model_is_declared_once():
    declared = [kind.model for kind in RECORD_TYPES]
    assert len(declared) == len(set(declared))
    assert set(declared) == set(Record.__subclasses__())


@pytest.mark.parametrize("kind", RECORD_TYPES, ids=lambda kind: kind.name)
def test_each_type_has_all_pages_and_an_admin(kind):
    names = {f"finance:{pattern.name}" for pattern in urlpatterns}
    assert set(kind.pages) == set(PAGES)
    assert set(kind.pages.values()) <= names
    assert admin.site.is_registered(kind.model)


def test_by_default_the_csv_has_the_columns_of_the_list_and_long_documents_are_deferred():
    accounts, _customers, transactions = RECORD_TYPES[:3]
    assert accounts.header == ["_id", "account_id", "limit", "products"]
    assert accounts.row(Account(pk="0" * 24, account_id=1, limit=2, products=["a"])) == ["0" * 24, 1, 2, ["a"]]
    assert accounts.deferred == ["extra"]
    assert transactions.deferred == ["extra", "transactions"]


def test_by_default_customers_see_no_records_of_a_model(django_user_model):
    customer("Own", [1], linked=user("customer"))
    owner, technician = django_user_model.objects.get(), user("technician")
    assert list(RecordQuerySet(Account).visible_to(owner)) == []
    assert len(RecordQuerySet(Account).visible_to(technician)) == 1


def test_staff_have_a_tab_for_each_record_type_and_customers_have_the_menu_alone(client):
    def tabs(kind):
        client.force_login(user(kind))
        text = client.get(reverse("finance:account_list")).content.decode()
        return text.partition('<ul class="nav nav-underline')[2].partition("</ul>")[0]

    assert re.findall(r">(\w+)</a>", tabs("technician")) == ["Accounts", "Customers", "Transactions"]
    assert tabs("customer") == ""


@pytest.mark.parametrize("kind", RECORD_TYPES, ids=lambda kind: kind.name)
def test_the_admin_has_the_sort_order_of_the_list(admin_client, kind):
    shown = admin_client.get(reverse(f"admin:finance_{kind.name}_changelist")).context["cl"]
    [(number, direction)] = shown.get_ordering_field_columns().items()
    order = kind.order()
    column = shown.list_display[number]
    assert getattr(column, "admin_order_field", column) == order.name.removeprefix("-")
    assert direction == ("desc" if order.descending else "asc")
