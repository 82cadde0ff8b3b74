"""The shop in the admin: what a person saves there is in the documents, and in the audit log."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from pymongo.database import Database

from audit.models import Act, Entry
from examples.shop.models import Line, Order
from examples.shop.tests.support import assert_in_sync, load, sql, stored
from sync.testing import deliver_all
from tests.browser_forms import edit_form

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def shop(mongo: Database, client: Client) -> Database:
    load()
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "a long password"))
    return mongo


def save(client: Client, address: str, **changes: Any) -> None:
    """Submits the page as a browser does, with these controls changed, and lets a relay deliver."""
    sent = edit_form(client.get(address).content.decode()).sent
    answer: Any = client.post(address, sent | {name.replace("__", "-"): value for name, value in changes.items()})
    assert answer.status_code == 302, answer.context["errors"]
    deliver_all()


def test_an_order_is_edited_with_its_lines(shop: Database, client: Client) -> None:
    address = reverse("admin:shop_order_change", args=[15])
    before = stored(shop, "orders")
    lines = sql("SELECT id FROM shop_line WHERE order_id = 15 ORDER BY id")
    assert len(lines) == 2
    save(
        client, address, lines__0__quantity="7", lines__1__DELETE="on",
        lines__2__product="1", lines__2__quantity="1", lines__2__price="20.00",
    )  # fmt: skip
    after = stored(shop, "orders")
    assert [(line["quantity"], line["product_id"]) for line in after[15]["lines"]] == [(7, 7), (1, 1)]
    assert {key for key in before if before[key] != after[key]} == {15}
    assert sql("SELECT quantity FROM shop_line WHERE id = %s", lines[0][0]) == [(7,)]
    assert_in_sync(shop)


def test_the_audit_log_has_what_happened_to_each_line(shop: Database, client: Client) -> None:
    address = reverse("admin:shop_order_change", args=[15])
    first, second = Line.objects.filter(order=15).order_by("pk")
    save(
        client, address, lines__0__quantity="7", lines__1__DELETE="on",
        lines__2__product="1", lines__2__quantity="1", lines__2__price="20.00",
    )  # fmt: skip
    added = Line.objects.get(order=15, product=1)
    entries = {(one.act, one.key): one for one in Entry.objects.filter(model="shop.line")}
    assert set(entries) == {(Act.CREATE, str(added.pk)), (Act.CHANGE, str(first.pk)), (Act.DELETE, str(second.pk))}
    changed = entries[Act.CHANGE, str(first.pk)]
    assert (changed.before, changed.after, changed.who) == ({"quantity": 3}, {"quantity": 7}, "root")
    assert entries[Act.DELETE, str(second.pk)].before["product"] == 2


def test_saving_an_unchanged_order_writes_nothing(shop: Database, client: Client) -> None:
    before = list(shop["orders"].find())
    save(client, reverse("admin:shop_order_change", args=[15]))
    assert list(shop["orders"].find()) == before
    assert not Entry.objects.filter(model__startswith="shop.").exists()


def test_an_order_is_entered_with_its_lines(shop: Database, client: Client) -> None:
    save(
        client, reverse("admin:shop_order_add"), buyer="3", ship_to="1 Quay",
        lines__0__product="5", lines__0__quantity="2", lines__0__price="29.90",
    )  # fmt: skip
    order = Order.objects.latest("pk")
    document = stored(shop, "orders")[order.pk]
    assert (document["buyer"], document["ship_to"]) == ({"name": "Chen Wei"}, "1 Quay")
    assert [line["product"] for line in document["lines"]] == [{"name": "Salt mill"}]
    assert_in_sync(shop)


def test_a_products_tags_and_category_are_edited_with_it(shop: Database, client: Client) -> None:
    save(client, reverse("admin:shop_product_change", args=[14]), category="2", tags=["2", "4"])
    document = stored(shop, "products")[14]
    assert (document["category"], document["tags"]) == ({"name": "Living"}, [{"name": "new"}, {"name": "sale"}])
    assert document["tag_ids"] == [2, 4]
    assert_in_sync(shop)


def test_a_category_is_renamed_in_the_documents_of_its_products(shop: Database, client: Client) -> None:
    save(client, reverse("admin:shop_category_change", args=[4]), name="Study")
    assert {one["category"]["name"] for one in stored(shop, "products").values() if one["category_id"] == 4} == {
        "Study"
    }
    assert_in_sync(shop)


def test_a_product_in_an_order_is_not_deleted(shop: Database, client: Client) -> None:
    page: Any = client.post(reverse("admin:shop_product_delete", args=[14]), {"post": "yes"})
    assert page.status_code == 200
    assert page.context["protected"]
    assert sql("SELECT name FROM shop_product WHERE id = 14") == [("Desk lamp",)]


def test_the_lists_search_and_filter(shop: Database, client: Client) -> None:
    def found(model: str, **query: str) -> set[int]:
        page: Any = client.get(reverse(f"admin:shop_{model}_changelist"), query)
        assert page.status_code == 200
        return {row.pk for row in page.context["cl"].result_list}

    assert found("order", q="kavita") == {3, 5, 15}
    assert found("order", q="15") == {15}
    assert found("order", q="bookshelf", status__exact="shipped") == {13, 15, 19}
    assert found("product", q="wood") == {1, 5, 6, 7, 10, 11}
    assert found("product", category__id__exact="4") == {14, 15, 16, 17}
    assert found("buyer", q="ada@") == {1}
