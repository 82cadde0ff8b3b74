"""The ORM's async methods record the documents that embed a row, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from pymongo.database import Database

from sync.outbox.relay import Relay
from sync.tests.support.composed import World, expected, make_world, stored
from sync.tests.zoo.models import Badge, Guest, Pen, Plan, Shelter, Town

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


async def save_a_child(world: World) -> None:
    world.pen.name = "second"
    await world.pen.asave()


async def move_a_child(world: World) -> None:
    world.pen.shelter = world.b
    await world.pen.asave(update_fields=["shelter"])


async def move_children(world: World) -> None:
    await Pen.objects.aupdate(shelter=world.b)


async def create_children(world: World) -> None:
    await Pen.objects.acreate(shelter=world.b, name="one")
    await Pen.objects.abulk_create([Pen(shelter=world.a, name="two")])
    await world.b.pen_set.acreate(name="three")


async def move_children_in_bulk(world: World) -> None:
    world.pen.shelter = world.b
    await Pen.objects.abulk_update([world.pen], ["shelter"])


async def get_or_create_children(world: World) -> None:
    await Pen.objects.aget_or_create(shelter=world.b, name="new")
    await Pen.objects.aupdate_or_create(pk=world.pen.pk, defaults={"shelter": world.b})


async def delete_a_child(world: World) -> None:
    await world.pen.adelete()


async def delete_children(world: World) -> None:
    await Pen.objects.all().adelete()


async def delete_the_parent(world: World) -> None:
    await world.a.adelete()


async def save_a_grandchild(world: World) -> None:
    world.guests[2].name = "Eve"
    await world.guests[2].asave()


async def release_grandchildren(world: World) -> None:
    await world.pen.guest_set.aclear()


async def change_grandchildren(world: World) -> None:
    await Guest.objects.aupdate(name="Eve")
    await Plan.objects.aupdate(text="round")


async def delete_a_grandchild(world: World) -> None:
    await world.guests[2].adelete()


async def rename_a_town(world: World) -> None:
    world.town.name = "Oban"
    await world.town.asave()


async def delete_a_town(world: World) -> None:
    await world.town.adelete()


async def move_parents(world: World) -> None:
    await Shelter.objects.aupdate(town=await Town.objects.acreate(name="Crail"))


async def add_a_badge(world: World) -> None:
    await world.b.badges.aadd(world.badges[0])


async def add_a_badge_from_the_other_side(world: World) -> None:
    await world.badges[0].shelter_set.aadd(world.b)


async def remove_a_badge(world: World) -> None:
    await world.a.badges.aremove(world.badges[0])


async def set_badges(world: World) -> None:
    await world.a.badges.aset([world.badges[1], await Badge.objects.acreate(name="new")])


async def clear_badges(world: World) -> None:
    await world.a.badges.aclear()


async def clear_from_the_other_side(world: World) -> None:
    await world.badges[0].shelter_set.aclear()


async def rename_badges(world: World) -> None:
    await Badge.objects.aupdate(name="bronze")


async def delete_a_badge(world: World) -> None:
    await world.badges[0].adelete()


WRITES = [
    save_a_child, move_a_child, move_children, create_children, move_children_in_bulk, get_or_create_children,
    delete_a_child, delete_children, delete_the_parent, save_a_grandchild, release_grandchildren, change_grandchildren,
    delete_a_grandchild, rename_a_town, delete_a_town, move_parents, add_a_badge, add_a_badge_from_the_other_side,
    remove_a_badge, set_badges, clear_badges, clear_from_the_other_side, rename_badges, delete_a_badge,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_the_documents_follow(write: Callable[[World], Awaitable[None]], mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = WRITES.index(write) % 2 == 0
    world = make_world()
    before = stored(mongo)
    async_to_sync(write)(world)
    Relay().drain()
    assert stored(mongo) == expected()
    assert stored(mongo) != before
