"""Every kind of write that concerns a composed document, as docs/explanation/protocol.md lists them."""

from __future__ import annotations

from collections.abc import Callable

from sync.tests.support.composed import World
from sync.tests.zoo.models import Badge, Guest, Pen, Plan, Shelter, Town


def save_a_child(world: World) -> None:
    world.pen.name = "second"
    world.pen.save()


def save_a_child_without_its_parent(world: World) -> None:
    stale = Pen(pk=world.pen.pk, shelter=world.b, name="third")
    stale.save(update_fields=["name"])


def move_a_child(world: World) -> None:
    world.pen.shelter = world.b
    world.pen.save()


def move_a_child_that_has_moved(world: World) -> None:
    stale = Pen.objects.get(pk=world.pen.pk)
    move_a_child(world)
    stale.shelter = world.a
    stale.save()


def move_children_by_update(world: World) -> None:
    Pen.objects.filter(shelter=world.a).update(shelter=world.b)


def create_children_in_bulk(world: World) -> None:
    Pen.objects.bulk_create(
        [Pen(pk=world.pen.pk + 1 + number, shelter=world.b, name=str(number)) for number in range(3)]
    )


def update_children_in_bulk(world: World) -> None:
    world.pen.shelter, world.pen.name = world.b, "moved"
    Pen.objects.bulk_update([world.pen], ["shelter", "name"])


def delete_a_child(world: World) -> None:
    world.pen.delete()


def delete_a_child_that_has_moved(world: World) -> None:
    stale = Pen.objects.get(pk=world.pen.pk)
    move_a_child(world)
    stale.delete()


def delete_children_by_queryset(world: World) -> None:
    Pen.objects.all().delete()


def delete_the_parent(world: World) -> None:
    world.a.delete()


def save_a_grandchild(world: World) -> None:
    world.guests[2].name = "Eve"
    world.guests[2].save()


def move_a_grandchild(world: World) -> None:
    other = Pen.objects.create(shelter=world.b, name="other")
    world.guests[0].pen, world.guests[0].arrived = other, 9
    world.guests[0].save()


def delete_grandchildren(world: World) -> None:
    Guest.objects.all().delete()


def set_a_grandchilds_parent_to_null(world: World) -> None:
    world.pen.guest_set.clear()


def change_a_one_to_one_grandchild(world: World) -> None:
    Plan.objects.filter(pen=world.pen).update(text="round")


def delete_a_one_to_one_grandchild(world: World) -> None:
    world.plan.delete()


def rename_a_town_of_several_parents(world: World) -> None:
    Town.objects.update(name="Bute")


def move_a_parent_to_another_town(world: World) -> None:
    world.a.town = Town.objects.create(name="Crail")
    world.a.save()


def delete_a_town(world: World) -> None:
    world.town.delete()


def add_a_badge(world: World) -> None:
    world.b.badges.add(world.badges[0])


def add_a_badge_from_the_other_side(world: World) -> None:
    world.badges[0].shelter_set.add(world.b)


def remove_a_badge(world: World) -> None:
    world.a.badges.remove(world.badges[0])


def set_badges(world: World) -> None:
    world.a.badges.set([world.badges[1], Badge.objects.create(name="new")])


def clear_badges(world: World) -> None:
    world.a.badges.clear()


def clear_from_the_other_side(world: World) -> None:
    world.badges[0].shelter_set.clear()


def rename_a_badge(world: World) -> None:
    world.badges[0].name = "platinum"
    world.badges[0].save()


def delete_a_badge(world: World) -> None:
    world.badges[0].delete()


def create_grandchildren_in_bulk(world: World) -> None:
    Guest.objects.bulk_create([Guest(pen=world.pen, name=str(number), arrived=9) for number in range(3)])


def update_grandchildren_in_bulk(world: World) -> None:
    for guest in world.guests:
        guest.name, guest.arrived = guest.name.upper(), -guest.arrived
    Guest.objects.bulk_update(world.guests, ["name", "arrived"])


def update_one_to_one_grandchildren_in_bulk(world: World) -> None:
    world.plan.text = "oval"
    Plan.objects.bulk_update([world.plan], ["text"])


def rename_towns_in_bulk(world: World) -> None:
    world.town.name = "Wick"
    Town.objects.bulk_update([world.town], ["name"])


def delete_towns_by_queryset(world: World) -> None:
    Town.objects.filter(pk=world.town.pk).delete()


def move_parents_in_bulk(world: World) -> None:
    world.a.town = world.b.town = Town.objects.create(name="Crail")
    Shelter.objects.bulk_update([world.a, world.b], ["town"])


def rename_badges_in_bulk(world: World) -> None:
    for badge in world.badges:
        badge.name += "!"
    Badge.objects.bulk_update(world.badges, ["name"])


def delete_badges_by_queryset(world: World) -> None:
    Badge.objects.all().delete()


Write = Callable[[World], None]
# By the row that is written.
CHILD: list[Write] = [
    save_a_child, save_a_child_without_its_parent, move_a_child, move_a_child_that_has_moved, move_children_by_update,
    create_children_in_bulk, update_children_in_bulk, delete_a_child, delete_a_child_that_has_moved,
    delete_children_by_queryset, delete_the_parent,
]  # fmt: skip
GRANDCHILD: list[Write] = [
    save_a_grandchild, move_a_grandchild, delete_grandchildren, set_a_grandchilds_parent_to_null,
    create_grandchildren_in_bulk, update_grandchildren_in_bulk, change_a_one_to_one_grandchild,
    delete_a_one_to_one_grandchild, update_one_to_one_grandchildren_in_bulk,
]  # fmt: skip
POINTED_TO: list[Write] = [
    rename_a_town_of_several_parents, move_a_parent_to_another_town, delete_a_town, rename_towns_in_bulk,
    delete_towns_by_queryset, move_parents_in_bulk,
]  # fmt: skip
RELATION: list[Write] = [
    add_a_badge, add_a_badge_from_the_other_side, remove_a_badge, set_badges, clear_badges, clear_from_the_other_side,
    rename_a_badge, delete_a_badge, rename_badges_in_bulk, delete_badges_by_queryset,
]  # fmt: skip
WRITES = CHILD + GRANDCHILD + POINTED_TO + RELATION
