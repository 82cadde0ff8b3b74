"""Writes of embedded rows that run at the same time leave no document stale."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from pymongo.database import Database

from sync.outbox.relay import Relay
from sync.tests.support.composed import World, expected, make_world, stored
from sync.tests.support.hurry import hurry
from sync.tests.support.transactions import Transaction
from sync.tests.zoo.models import Badge, Guest, Pen, Plan, Shelter, Town

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def world(mongo: Database) -> World:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    return make_world()


def test_two_movers_do_not_wait_for_each_other(world: World, mongo: Database, settings: Any) -> None:
    other = Pen.objects.create(shelter=world.b, name="other")
    with Transaction(lambda: Pen.objects.filter(pk=world.pen.pk).update(shelter=world.b)):
        other.shelter = world.a
        other.save()
    Relay().drain()
    assert stored(mongo) == expected()


def some_write(chance: random.Random) -> None:
    shelters, pens = list(Shelter.objects.all()), list(Pen.objects.all())
    shelter, pen, name = chance.choice(shelters), chance.choice(pens), str(chance.randrange(1000))
    guests, badges = list(Guest.objects.all()), list(Badge.objects.all())
    acts: list[Callable[[], object]] = [
        lambda: Pen.objects.filter(pk=pen.pk).update(shelter=shelter),
        lambda: Pen(pk=pen.pk, shelter=shelter, name=name, built=None).save(force_update=True),
        lambda: Pen.objects.filter(pk=pen.pk).update(name=name),
        lambda: Guest.objects.create(pen=pen, name=name, arrived=chance.randrange(9)),
        lambda: [guest.delete() for guest in guests[:1]],
        lambda: Guest.objects.filter(name__lt=name).update(pen=pen),
        lambda: Plan.objects.update(text=name),
        lambda: Town.objects.update(name=name),
        lambda: Shelter.objects.filter(pk=shelter.pk).update(name=name),
        lambda: shelter.badges.add(chance.choice(badges)),
        lambda: shelter.badges.clear(),
        lambda: chance.choice(badges).shelter_set.clear(),
        lambda: Badge.objects.filter(pk=chance.choice(badges).pk).update(name=name),
    ]
    with transaction.atomic():
        for act in chance.sample(acts, chance.choice([1, 1, 1, 2, 3])):
            act()


def test_random_writers_and_relays_leave_every_document_equal(world: World, mongo: Database, settings: Any) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    for number in range(3):
        Pen.objects.create(shelter=world.b, name=str(number))
    stop = time.monotonic() + 4
    counts = {"committed": 0, "rolled back": 0}
    failures: list[BaseException] = []

    def write(chance: random.Random) -> None:
        while time.monotonic() < stop:
            try:
                some_write(chance)
                counts["committed"] += 1
            except OperationalError:  # a deadlock among the application's own writes
                counts["rolled back"] += 1

    def deliver() -> None:
        while time.monotonic() < stop:
            hurry()
            Relay().drain()

    def run(act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    acts = [lambda number=number: write(random.Random(seed + number)) for number in range(3)] + [deliver] * 2
    threads = [threading.Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    hurry()
    Relay().drain()
    print(counts)
    assert counts["committed"] > 20
    assert stored(mongo) == expected()
