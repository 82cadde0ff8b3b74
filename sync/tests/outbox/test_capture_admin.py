"""Changes made in the admin are captured: forms, their inlines, edits in the list, and "delete selected"."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import path
from pymongo.database import Database

from analytics_site.urls import urlpatterns as portal
from sync.mapping.registry import Target
from sync.tests.zoo.models import Animal, Keeper
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.urls(__name__)]


class AnimalInline(admin.TabularInline):
    model = Animal
    fk_name = "keeper"
    fields = ("name",)
    extra = 0


class KeeperAdmin(admin.ModelAdmin):
    fields = ("name",)
    inlines = (AnimalInline,)


class AnimalAdmin(admin.ModelAdmin):
    fields = ("name", "keeper")
    list_display = ("id", "name")
    list_editable = ("name",)


site = admin.AdminSite(name="zoo")
site.register(Keeper, KeeperAdmin)
site.register(Animal, AnimalAdmin)
urlpatterns = [path("zoo/", site.urls), *portal]


@pytest.fixture
def staff(client: Client, mongo: Database) -> Client:
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.org", "a long password"))
    return client


@pytest.fixture
def keeper(staff: Client) -> Keeper:
    keeper = Keeper.objects.create(name="Ann")
    for name in ("cat", "dog"):
        Animal.objects.create(name=name, keeper=keeper)
    return keeper


def inlines(*animals: dict[str, Any]) -> dict[str, Any]:
    """The fields of an inline formset with these rows. Existing rows must come first."""
    data: dict[str, Any] = {
        "animal_set-TOTAL_FORMS": len(animals),
        "animal_set-INITIAL_FORMS": sum("id" in animal for animal in animals),
    }
    for number, animal in enumerate(animals):
        data |= {f"animal_set-{number}-{name}": value for name, value in animal.items()}
    return data


def send(staff: Client, page: str, data: dict[str, Any]) -> None:
    answer = staff.post(f"/zoo/zoo/{page}", data)
    assert answer.status_code == 302, answer.content.decode()[-3000:]


def names(mongo: Database, collection: str) -> list[str]:
    for model in (Keeper, Animal):
        assert verify(Target(model)).mismatches == []
    return sorted(document["name"] for document in mongo[collection].find())


def test_a_row_is_added_with_its_inlines(staff: Client, mongo: Database) -> None:
    send(staff, "keeper/add/", {"name": "Bob", **inlines({"name": "owl"}, {"name": "fox"})})
    assert names(mongo, "zoo_keepers") == ["Bob"]
    assert names(mongo, "zoo_animals") == ["fox", "owl"]


def test_a_row_is_changed_with_its_inlines(staff: Client, keeper: Keeper, mongo: Database) -> None:
    cat, dog = Animal.objects.order_by("name")
    kept = {"id": cat.pk, "keeper": keeper.pk, "name": "tiger"}
    gone = {"id": dog.pk, "keeper": keeper.pk, "name": "dog", "DELETE": "on"}
    data = inlines(kept, gone, {"keeper": keeper.pk, "name": "bear"})
    send(staff, f"keeper/{keeper.pk}/change/", {"name": "Anna", **data})
    assert names(mongo, "zoo_keepers") == ["Anna"]
    assert names(mongo, "zoo_animals") == ["bear", "tiger"]


def test_rows_are_edited_in_the_list(staff: Client, keeper: Keeper, mongo: Database) -> None:
    data: dict[str, Any] = {"form-TOTAL_FORMS": 2, "form-INITIAL_FORMS": 2, "_save": "Save"}
    for number, animal in enumerate(Animal.objects.order_by("-pk")):
        data |= {f"form-{number}-id": animal.pk, f"form-{number}-name": f"old {animal.name}"}
    send(staff, "animal/", data)
    assert names(mongo, "zoo_animals") == ["old cat", "old dog"]


def test_a_row_is_deleted_with_its_dependent_rows(staff: Client, keeper: Keeper, mongo: Database) -> None:
    send(staff, f"keeper/{keeper.pk}/delete/", {"post": "yes"})
    assert names(mongo, "zoo_keepers") == names(mongo, "zoo_animals") == []


def test_selected_rows_are_deleted(staff: Client, keeper: Keeper, mongo: Database) -> None:
    Keeper.objects.create(name="Bob")
    chosen = {"action": "delete_selected", "_selected_action": [keeper.pk], "post": "yes"}
    send(staff, "keeper/", chosen)
    assert names(mongo, "zoo_keepers") == ["Bob"]
    assert names(mongo, "zoo_animals") == []
