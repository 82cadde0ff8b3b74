"""Writes of rows that the documents of others embed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from django.db import connection

from sync.tests.chaos.composed import LINKS, Group
from sync.tests.zoo.models import Badge, Guest, Pen, Plan, Shelter, Town

MODELS = (Town, Badge, Shelter, Pen, Plan, Guest)  # each after those that it refers to


def create_all(group: Group) -> None:
    """Creates every row that does not exist yet: most writes change rows."""
    Town.objects.bulk_create([Town(pk=each, name="") for each in group.towns], ignore_conflicts=True)
    Badge.objects.bulk_create([Badge(pk=each, name="") for each in group.badges], ignore_conflicts=True)
    shelters = [
        Shelter(pk=each, name="", town_id=town) for each, town in zip(group.shelters, group.towns, strict=False)
    ]
    shelters += [Shelter(pk=each, name="") for each in group.shelters[len(shelters) :]]
    Shelter.objects.bulk_create(shelters, ignore_conflicts=True)
    pens = [Pen(pk=each, name="", shelter_id=group.shelters[0]) for each in group.pens]
    Pen.objects.bulk_create(pens, ignore_conflicts=True)
    guests = [Guest(pk=each, name="", pen_id=group.pens[0]) for each in group.guests]
    Guest.objects.bulk_create(guests, ignore_conflicts=True)


def operation(chance: random.Random, group: Group, name: str) -> Callable[[], Any]:
    """Returns a write by the ORM that has not run yet."""
    shelter, pen, guest = chance.choice(group.shelters), chance.choice(group.pens), chance.choice(group.guests)
    town, badge = chance.choice([*group.towns, None]), chance.choice(group.badges)
    day, place = chance.randrange(4), chance.choice(group.towns)
    new_pens = [Pen(pk=each, shelter_id=shelter, name=name) for each in group.pens[:2]]
    everything = [
        lambda: Shelter(pk=shelter, name=name, town_id=town).save(),
        lambda: Shelter(pk=shelter, name=name, town_id=town).save(),
        lambda: Shelter.objects.filter(pk=shelter).update(town_id=town),
        lambda: Shelter.objects.filter(pk=shelter).delete(),
        lambda: Pen(pk=pen, shelter_id=shelter, name=name).save(),
        lambda: Pen(pk=pen, shelter_id=shelter, name=name).save(),
        lambda: Pen(pk=pen, shelter_id=shelter, name=name).save(update_fields=["name"]),
        *[lambda: Pen.objects.filter(pk=pen).update(shelter_id=shelter)] * 5,
        lambda: Pen.objects.filter(shelter_id=shelter).update(name=name),
        lambda: Pen.objects.bulk_create(new_pens, ignore_conflicts=True),
        lambda: Pen.objects.bulk_create(new_pens, update_conflicts=True, update_fields=["shelter", "name"]),
        lambda: Pen.objects.bulk_update(new_pens, ["shelter", "name"]),
        lambda: Pen.objects.filter(pk=pen).delete(),
        lambda: Guest(pk=guest, pen_id=pen, name=name, arrived=day).save(),
        lambda: Guest(pk=guest, pen_id=chance.choice([pen, None]), name=name, arrived=day).save(),
        lambda: Guest.objects.filter(pk__in=group.guests[:2]).update(pen_id=pen, arrived=day),
        lambda: Guest.objects.filter(pk=guest).delete(),
        lambda: Plan(pk=pen, pen_id=pen, text=name).save(),
        lambda: Plan.objects.filter(pk=pen).delete(),
        lambda: Town(pk=place, name=name).save(),
        lambda: Town.objects.filter(pk=place).update(name=name),
        lambda: Town.objects.filter(pk=place).delete(),
        lambda: Badge(pk=badge, name=name).save(),
        lambda: Badge.objects.filter(pk=badge).delete(),
        lambda: Shelter(pk=shelter).badges.add(badge),
        lambda: Badge(pk=badge).shelter_set.add(shelter),
        lambda: Shelter(pk=shelter).badges.remove(badge),
        lambda: Shelter(pk=shelter).badges.clear(),
        lambda: Badge(pk=badge).shelter_set.clear(),
    ]
    return chance.choice(everything)


def raw_operation(chance: random.Random, group: Group, name: str) -> Callable[[], Any]:
    """Like `operation`, in SQL, which captures no change."""
    shelter, pen, guest = chance.choice(group.shelters), chance.choice(group.pens), chance.choice(group.guests)
    town, badge = chance.choice([*group.towns, None]), chance.choice(group.badges)
    statement, values = chance.choice(
        [
            ("UPDATE zoo_pen SET shelter_id = %s WHERE id = %s", (shelter, pen)),
            ("UPDATE zoo_pen SET name = %s WHERE id = %s", (name, pen)),
            (
                "INSERT INTO zoo_pen (id, shelter_id, name) VALUES (%s, %s, %s) "
                "ON DUPLICATE KEY UPDATE shelter_id = VALUES(shelter_id)",
                (pen, shelter, name),
            ),
            ("DELETE FROM zoo_guest WHERE id = %s", (guest,)),
            ("UPDATE zoo_guest SET pen_id = %s WHERE id = %s", (pen, guest)),
            ("UPDATE zoo_guest SET name = %s", (name,)),
            ("UPDATE zoo_town SET name = %s WHERE id = %s", (name, group.towns[0])),
            ("UPDATE zoo_shelter SET town_id = %s, name = %s WHERE id = %s", (town, name, shelter)),
            ("UPDATE zoo_badge SET name = %s WHERE id = %s", (name, badge)),
            (f"INSERT IGNORE INTO {LINKS} (shelter_id, badge_id) VALUES (%s, %s)", (shelter, badge)),
            (f"DELETE FROM {LINKS} WHERE badge_id = %s", (badge,)),
        ]
    )

    def run() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    return run
