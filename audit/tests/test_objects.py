"""The audit log names the kinds of objects, and links to those that still exist."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.test import Client

from audit.filters import EntryFilter
from audit.models import Act, Entry
from finance.models import Account

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]


def entry(model: str, key: Any, text: str) -> None:
    Entry.objects.create(who="ada", act=Act.CHANGE, model=model, key=key, text=text)


@pytest.fixture
def reader(client: Client) -> Client:
    user = get_user_model().objects.create_user("reader", "reader@example.com", "x")
    user.user_permissions.add(Permission.objects.get(codename="view_entry"))
    client.force_login(user)
    return client


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("boss", "boss@example.com", "x"))
    return client


def urls(client: Client) -> dict[str, str]:
    return {entry.text: entry.url for entry in client.get("/audit/").context["entries"]}


def test_an_entry_links_to_its_record_if_that_still_exists(reader: Client) -> None:
    account = Account.objects.create(account_id=1, limit=1)
    entry("finance.account", account.pk, "Account 1")
    entry("finance.account", "0" * 24, "Account 2")
    address = f"/finance/accounts/{account.pk}/"
    assert urls(reader) == {"Account 1": address, "Account 2": ""}
    page = reader.get("/audit/").content.decode()
    assert f'<a href="{address}">Account 1</a>' in page
    account.delete()
    assert urls(reader) == {"Account 1": "", "Account 2": ""}


def test_a_user_is_linked_for_readers_who_may_open_the_admin(boss: Client) -> None:
    group = Group.objects.create(name="Clerks")
    entry("auth.group", group.pk, "Clerks")
    assert urls(boss) == {"Clerks": f"/admin/auth/group/{group.pk}/change/"}
    assert boss.get(urls(boss)["Clerks"]).status_code == 200


def test_a_reader_without_the_admin_gets_no_link_to_it(reader: Client) -> None:
    entry("auth.group", Group.objects.create(name="Clerks").pk, "Clerks")
    assert urls(reader) == {"Clerks": ""}


@pytest.mark.parametrize("key", ["", "x", "9" * 255, "-1", "'", "\u2028"])
@pytest.mark.parametrize("model", ["", "accounts.user", "finance.account", "sync.target", "gone.model", "a.b.c", "."])
def test_an_odd_object_has_no_link_and_breaks_nothing(boss: Client, model: str, key: str) -> None:
    entry(model, key, "odd")
    assert urls(boss) == {"odd": ""}


def test_a_page_of_entries_needs_one_query_for_each_kind(boss: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        entry("finance.account", Account.objects.create(account_id=number, limit=1).pk, str(number))
    boss.get("/audit/")
    with django_assert_max_num_queries(7):
        assert len(urls(boss)) == 20


def test_the_filter_lists_the_kinds_of_the_log_by_name() -> None:
    for model in ("finance.customer", "account.emailaddress", "sync.target", "finance.customer", ""):
        entry(model, "1", "x")
    choices = EntryFilter({}, Entry.objects.all()).filters["model"].extra["choices"]
    assert choices == [
        ("finance.customer", "Customer"), ("account.emailaddress", "Email address"), ("sync.target", "Target"),
    ]  # fmt: skip


def test_a_link_to_a_kind_that_has_no_entry_yet_finds_nothing(reader: Client) -> None:
    entry("finance.customer", "1", "x")
    page = reader.get("/audit/?model=finance.account&key=1").content.decode()
    assert "No entries match your search." in page
    assert '<option value="finance.account" selected' in page
