"""A write that names its fields concerns documents only if they have something of those fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F
from pymongo.database import Database

from sync.mapping.embeds import Many, nodes
from sync.mapping.registry import Target
from sync.outbox import parents
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.composed import World, expected, make_world, stored
from sync.tests.zoo.models import Clinic, Guest, Pen, Shelter, Shift, Town, Vet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
Write = Callable[[World], object]


@pytest.fixture
def world(mongo: Database[dict[str, Any]], settings: Any) -> World:
    settings.SYNC_INLINE = False
    return make_world()


def save(row: Any, *names: str, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.save(update_fields=names or list(values))


IN_NO_DOCUMENT: dict[str, Write] = {
    "save": lambda world: save(world.town, people=3),
    "update": lambda world: Town.objects.update(people=F("people") + 1),
    "bulk_update": lambda world: Town.objects.bulk_update([world.town], ["people"]),
    "update_or_create": lambda world: Town.objects.update_or_create(pk=world.town.pk, defaults={"people": 4}),
    "no field at all": lambda world: world.town.save(update_fields=[]),
}
IN_DOCUMENTS: dict[str, Write] = {
    "a field": lambda world: save(world.town, name="Oban"),
    "one of two fields": lambda world: save(world.town, name="Oban", people=3),
    "an update": lambda world: Town.objects.update(name="Oban", people=1),
    "update_or_create": lambda world: Town.objects.update_or_create(pk=world.town.pk, defaults={"name": "Oban"}),
    "the order": lambda world: Guest.objects.filter(name="Rex").update(arrived=9),
    "the order, saved": lambda world: save(world.guests[0], arrived=9),
    "a link": lambda world: save(world.pen, shelter=world.b),
    "a link's column": lambda world: save(world.pen, "shelter_id", shelter_id=world.b.pk),
    "an updated link": lambda world: Pen.objects.update(shelter=world.b),
    "all fields": lambda world: world.town.save(),
}


@pytest.mark.parametrize("name", IN_NO_DOCUMENT)
def test_a_write_of_fields_that_no_document_has_records_nothing(name: str, world: World) -> None:
    IN_NO_DOCUMENT[name](world)
    assert not Change.objects.exists()


@pytest.mark.parametrize("name", IN_DOCUMENTS)
def test_a_write_of_what_documents_have_is_delivered(name: str, world: World, mongo: Database[dict[str, Any]]) -> None:
    IN_DOCUMENTS[name](world)
    assert Change.objects.exists()
    Relay().drain()
    assert stored(mongo) == expected()


def test_a_link_of_its_own_has_fields_that_no_document_has(world: World) -> None:
    clinic, vet = Clinic.objects.create(name="North"), Vet.objects.create(name="Ann")
    shift = Shift.objects.create(clinic=clinic, vet=vet)
    Relay().drain()
    save(shift, hours=8)
    assert not Change.objects.exists()
    save(shift, vet=Vet.objects.create(name="Bea"))
    assert [change.key for change in Change.objects.filter(via="")] == [clinic.pk]


def test_a_foreign_key_by_which_a_row_embeds_another_counts_although_it_is_not_shown(monkeypatch: Any) -> None:
    """Orders show a line's quantity and the name of its product, but not the product's key."""
    from examples.shop.models import Line, Order

    buyer, lines = Order.mirror.embed
    shown = Many("lines", "lines", fields=("quantity",), embed=lines.embed)
    monkeypatch.setitem(vars(Order.mirror), "embed", (buyer, shown))
    node = next(node for node in nodes(Target(Order)) if node.path == "lines")
    embedding = parents.Embedding(Target(Order), node, node.key)
    touches = {name: parents._is_touched(embedding, Line, frozenset([name])) for name in ("product_id", "price")}
    assert touches == {"product_id": True, "price": False}


def test_what_a_generated_field_is_computed_from_is_not_known(monkeypatch: Any) -> None:
    [embedding] = [each for each in parents.embeddings(Town) if each.target.model is Shelter]
    assert not parents._is_touched(embedding, Town, frozenset(["people"]))
    monkeypatch.setattr(Town._meta.get_field("name"), "generated", True)
    assert parents._is_touched(embedding, Town, frozenset(["people"]))
