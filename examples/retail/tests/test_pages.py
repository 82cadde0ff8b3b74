"""The pages of the sales: who can see them, and that the sums are correct."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pymongo.database import Database

from examples.retail.tests.support import load, pull

pytestmark = pytest.mark.django_db(transaction=True)


def logged_in(client: Client, *, may: bool = True, **fields: Any) -> Client:
    user = get_user_model().objects.create_user("somebody", "somebody@example.com", "secret", **fields)
    if may:
        user.user_permissions.set(Permission.objects.filter(codename="view_sale"))
    client.force_login(user)
    return client


def test_revenue_is_summed_by_store_and_month(mongo: Database, client: Client) -> None:
    wanted: dict[tuple[int, int, str], Decimal] = defaultdict(Decimal)
    for sale in load(mongo, 300):
        key = (sale["saleDate"].year, sale["saleDate"].month, sale["storeLocation"])
        wanted[key] += sum(item["price"].to_decimal() * item["quantity"] for item in sale["items"])
    pull("--once")
    logged_in(client)
    found = {}
    for year in {key[0] for key in wanted}:
        context = client.get(reverse("retail:revenue"), {"year": year}).context
        for month in context["months"]:
            for store, amount in zip(context["stores"], month.revenue, strict=True):
                if amount is not None:
                    found[year, month.month.month, store] = amount
    assert found == wanted


def test_revenue_requires_the_permission_to_view_sales(client: Client) -> None:
    address = reverse("retail:revenue")
    assert client.get(address).status_code == 302
    assert logged_in(client, may=False).get(address).status_code == 403


def test_the_page_without_sales_says_what_to_do(client: Client) -> None:
    page = logged_in(client).get(reverse("retail:revenue"), {"year": "²"})
    assert page.status_code == 200
    assert "manage.py sync pull sale" in page.content.decode()


def test_the_admin_filters_and_searches_but_is_read_only(mongo: Database, client: Client) -> None:
    sale = load(mongo, 50)[7]
    pull("--once")
    logged_in(client, is_staff=True)
    address = reverse("admin:retail_sale_changelist")
    assert client.get(address, {"storeLocation": sale["storeLocation"]}).status_code == 200
    page = client.get(address, {"q": sale["customer"]["email"]})
    assert str(sale["_id"]) in page.content.decode()
    change = reverse("admin:retail_sale_change", args=[str(sale["_id"])])
    assert client.get(change).status_code == 200
    assert client.post(change, {"storeLocation": "x"}).status_code == 403
    assert client.get(reverse("admin:retail_sale_add")).status_code == 403


def test_load_sales_is_repeatable_and_refuses_to_run_in_production(mongo: Database, capsys: Any) -> None:
    with pytest.raises(CommandError, match="DEBUG is off"):
        call_command("load_sales")
    call_command("load_sales", "--count", "20", "--force")
    assert mongo["sales"].count_documents({}) == 20
    call_command("load_sales", "--count", "20", "--force")
    assert "0 sales written" in capsys.readouterr().out
