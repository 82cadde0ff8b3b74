"""Views of the management dashboard are saved by name, for their owner alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from finance.models import SavedView
from finance.tests.people import user

pytestmark = pytest.mark.django_db

SAVE, PAGE = reverse("finance:save_view"), reverse("finance:totals_dashboard")


@pytest.fixture
def manager(client: Client) -> Any:
    made = user("manager")
    client.force_login(made)
    return made


def saved(owner: Any) -> dict[str, str]:
    return dict(SavedView.objects.filter(user=owner).values_list("name", "query"))


def test_a_view_is_saved_and_replaced_by_name(client: Client, manager: Any) -> None:
    response = client.post(SAVE, {"name": " Sap ", "query": "first=2016-01&symbol=sap&page=3&next=//evil.example"})
    assert response.url == f"{PAGE}?first=2016-01&symbol=sap"
    assert saved(manager) == {"Sap": "first=2016-01&symbol=sap"}
    client.post(SAVE, {"name": "Sap", "query": ""})
    assert saved(manager) == {"Sap": ""}


@pytest.mark.parametrize("values", [{"name": ""}, {"name": "x" * 61}, {"name": "x", "query": f"symbol={'x' * 900}"}])
def test_a_view_that_cannot_be_saved_says_why(client: Client, manager: Any, values: dict[str, str]) -> None:
    response = client.post(SAVE, {"query": "", **values}, follow=True)
    assert [message.level_tag for message in response.context["messages"]] == ["error"]
    assert saved(manager) == {}


def test_a_user_has_a_limited_number_of_views(client: Client, manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SavedView, "MOST", 2)
    for name in ("a", "b", "c", "b"):
        response = client.post(SAVE, {"name": name, "query": f"symbol={name}"}, follow=True)
        assert ("Remove one first" in response.content.decode()) == (name == "c")
    assert set(saved(manager)) == {"a", "b"}


def test_a_view_is_removed_by_its_owner_alone(client: Client, manager: Any) -> None:
    mine = SavedView.objects.create(user=manager, name="mine", query="")
    other = user("manager", "other")
    theirs = SavedView.objects.create(user=other, name="theirs", query="")
    assert client.post(reverse("finance:remove_view", args=[theirs.pk])).status_code == 404
    assert client.get(reverse("finance:remove_view", args=[mine.pk])).status_code == 405
    client.post(reverse("finance:remove_view", args=[mine.pk]))
    assert (saved(manager), saved(other)) == ({}, {"theirs": ""})


def test_customers_save_no_views(client: Client) -> None:
    client.force_login(user("customer"))
    assert client.post(SAVE, {"name": "x", "query": ""}).status_code == 403
