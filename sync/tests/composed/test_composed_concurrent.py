"""Each write of an embedded row, while another transaction writes rows of the same documents."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection
from pymongo.database import Database

from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.composed import World, expected, make_world, stored
from sync.tests.support.composed_writes import WRITES, Write
from sync.tests.support.transactions import Transaction
from sync.tests.zoo.models import Badge, Guest, Pen, Shelter, Town

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def world(mongo: Database) -> World:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    return make_world()


def move_children(world: World) -> None:
    Pen.objects.update(shelter=world.b)


def change_grandchildren(world: World) -> None:
    Guest.objects.update(name="Eve")


def change_what_parents_name(world: World) -> None:
    Town.objects.update(name="Oban")
    Badge.objects.update(name="bronze")


def link_parents(world: World) -> None:
    Shelter.badges.through.objects.filter(shelter=world.b).delete()
    world.b.badges.add(*Badge.objects.all())
    Shelter.objects.filter(pk=world.b.pk).update(town=Town.objects.create(name="Crail"))


RIVALS: list[Write] = [move_children, change_grandchildren, change_what_parents_name, link_parents]


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("write", WRITES)
def test_the_documents_follow_both(write: Write, rival: Write, world: World, mongo: Database, settings: Any) -> None:
    """The rival begins while the write is not committed: it waits for a lock of it, or commits first."""
    settings.SYNC_INLINE = False
    with Transaction(lambda: write(world)) as first:
        second = Transaction(lambda: rival(world))
        second.may_commit.set()
        second.start()
        second.join(0.15)
        if not second.is_alive():
            Relay().drain()
    second.join()
    assert first.error is None
    assert second.error is None or isinstance(second.error, IntegrityError), "it linked a row that is deleted"
    Relay().drain()
    assert not Change.objects.filter(settling=False).exists()
    assert stored(mongo) == expected()
