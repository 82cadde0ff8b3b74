"""What the documents that embed rows of other tables have to be at rest, and the rows that are written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from bson import ObjectId

LINKS = "zoo_shelter_badges"
TABLES = ("zoo_town", "zoo_badge", "zoo_shelter", LINKS, "zoo_pen", "zoo_plan", "zoo_guest")  # each after what it needs
COLLECTION = "zoo_shelters"
GROUPS = 8  # of rows in a schedule, one after the other
SHELTER = "e"  # in their keys, which differ so from those of accounts


class Group:
    """The few rows that all writers change for a while. No later write repairs them."""

    def __init__(self, seed: int, number: int) -> None:
        first = (seed * GROUPS + number) * 6
        numbers = range(first, first + 6)
        self.shelters = [f"{seed:016x}{SHELTER}{number * 6 + n:07x}" for n in range(6)]
        self.pens, self.guests = list(numbers[:4]), list(numbers[:4])
        self.towns, self.badges = list(numbers[:3]), list(numbers[:3])


def expected(read: Callable[[str], list[dict[str, Any]]]) -> dict[Any, dict[str, Any]]:
    """Returns the documents that the rows stand for. read: returns the rows of a table."""
    pens, guests, plans, badges, linked = (defaultdict(list) for _ in range(5))
    for pen in read("zoo_pen"):
        pens[pen["shelter_id"]].append(pen)
    for guest in read("zoo_guest"):
        guests[guest["pen_id"]].append(guest)
    for plan in read("zoo_plan"):
        plans[plan["pen_id"]].append(plan)
    for badge in read("zoo_badge"):
        badges[badge["id"]].append(badge)
    for link in read(LINKS):
        linked[link["shelter_id"]] += badges[link["badge_id"]]
    towns = {town["id"]: town for town in read("zoo_town")}
    return {
        ObjectId(row["id"]): {
            "_id": ObjectId(row["id"]),
            "name": row["name"],
            **({"town_id": row["town_id"], "town": {"name": towns[row["town_id"]]["name"]}} if row["town_id"] else {}),
            "pens": [
                {
                    "_id": pen["id"],
                    "name": pen["name"],
                    "guests": [
                        {"name": guest["name"]}
                        for guest in sorted(guests[pen["id"]], key=lambda each: (-each["arrived"], each["id"]))[:2]
                    ],
                    **({"plan": {"text": plans[pen["id"]][0]["text"]}} if plans[pen["id"]] else {}),
                }
                for pen in sorted(pens[row["id"]], key=lambda each: (each["name"], each["id"]))
            ],
            "badges": [{"name": badge["name"]} for badge in _by_name_descending(linked[row["id"]])],
            "badge_ids": sorted(badge["id"] for badge in linked[row["id"]]),
        }
        for row in read("zoo_shelter")
    }


def _by_name_descending(badges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(sorted(badges, key=lambda each: each["id"]), key=lambda each: each["name"], reverse=True)
