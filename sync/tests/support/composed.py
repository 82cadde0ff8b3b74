"""A world of rows whose documents are composed of several tables."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

from bson import ObjectId
from pymongo.database import Database

from sync.tests.support.hurry import confirm
from sync.tests.zoo.models import Badge, Guest, Pen, Plan, Shelter, Town

BUILT = datetime.datetime(2020, 5, 17, 12, 30, 1, 123456, datetime.UTC)


class World(NamedTuple):
    a: Shelter
    b: Shelter
    pen: Pen
    plan: Plan
    guests: list[Guest]
    town: Town
    badges: list[Badge]


def make_world() -> World:
    """Two shelters, delivered: the first has a pen with guests and a plan, and badges."""
    town = Town.objects.create(name="Ayr")
    a, b = (Shelter.objects.create(name=name, town=town) for name in ("A", "B"))
    pen = Pen.objects.create(shelter=a, name="first", built=BUILT)
    plan = Plan.objects.create(pen=pen, text="square")
    guests = [Guest.objects.create(pen=pen, name=name, arrived=day) for day, name in enumerate(("Rex", "Tom", "Ivy"))]
    badges = [Badge.objects.create(name=name) for name in ("gold", "silver")]
    a.badges.add(*badges)
    confirm()
    return World(a, b, pen, plan, guests, town, badges)


def expected() -> dict[Any, dict[str, Any]]:
    """The documents, made row by row with plain queries."""
    return {
        ObjectId(shelter.pk): {
            "_id": ObjectId(shelter.pk),
            "name": shelter.name,
            **({"town_id": shelter.town_id, "town": {"name": shelter.town.name}} if shelter.town else {}),
            "pens": [
                {
                    "_id": pen.pk,
                    "name": pen.name,
                    **(
                        {"built": pen.built.replace(microsecond=pen.built.microsecond // 1000 * 1000)}
                        if pen.built
                        else {}
                    ),
                    "guests": [
                        {"name": guest.name} for guest in Guest.objects.filter(pen=pen).order_by("-arrived", "pk")[:2]
                    ],
                    **({"plan": {"text": pen.plan.text}} if Plan.objects.filter(pen=pen).exists() else {}),
                }
                for pen in Pen.objects.filter(shelter=shelter).order_by("name", "pk")
            ],
            "badges": [{"name": badge.name} for badge in shelter.badges.order_by("-name", "pk")],
            "badge_ids": [badge.pk for badge in shelter.badges.order_by("pk")],
        }
        for shelter in Shelter.objects.all()
    }


def stored(mongo: Database) -> dict[Any, dict[str, Any]]:
    found = {document["_id"]: document for document in mongo.zoo_shelters.find()}
    for document in found.values():
        del document["_sync"]
    return found
