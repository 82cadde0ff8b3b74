"""Verify finds every difference in embedded parts while rows of other documents move, and invents none."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from django.db import OperationalError, connection
from django.db.models import QuerySet
from pymongo import ReplaceOne
from pymongo.database import Database

from sync.mapping.registry import Target
from sync.outbox import backfill
from sync.outbox.relay import Relay
from sync.tests.support.hurry import confirm
from sync.tests.zoo.models import Badge, Guest, Pen, Plan, Shelter, Town
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]
SEEDED, LIVE = 1000, 100  # documents
PAUSE = 0.02  # seconds between two writes of a thread


def rename_a_pen(document: dict[str, Any]) -> None:
    document["pens"][1]["name"] += "?"


def leave_a_pen_out(document: dict[str, Any]) -> None:
    del document["pens"][0]


def invent_a_pen(document: dict[str, Any]) -> None:
    document["pens"].append({"_id": -1, "name": "new", "guests": []})


def exchange_pens(document: dict[str, Any]) -> None:
    document["pens"].reverse()


def rename_a_guest(document: dict[str, Any]) -> None:
    document["pens"][0]["guests"][0]["name"] = ""


def leave_a_guest_out(document: dict[str, Any]) -> None:
    document["pens"][1]["guests"] = []


def change_a_plan(document: dict[str, Any]) -> None:
    document["pens"][0]["plan"]["text"] = "oval"


def leave_the_plan_out(document: dict[str, Any]) -> None:
    del document["pens"][0]["plan"]


def change_the_town(document: dict[str, Any]) -> None:
    document["town"]["name"] = "Wick"


def leave_the_town_out(document: dict[str, Any]) -> None:
    del document["town"]


def rename_a_badge(document: dict[str, Any]) -> None:
    document["badges"][0]["name"] = "tin"


def add_a_badge(document: dict[str, Any]) -> None:
    document["badge_ids"].append(-1)


def change_a_type(document: dict[str, Any]) -> None:
    document["badge_ids"][0] = float(document["badge_ids"][0])


DIFFERENCES: list[Callable[[dict[str, Any]], None]] = [
    rename_a_pen, leave_a_pen_out, invent_a_pen, exchange_pens, rename_a_guest, leave_a_guest_out, change_a_plan,
    leave_the_plan_out, change_the_town, leave_the_town_out, rename_a_badge, add_a_badge, change_a_type,
]  # fmt: skip


def plain(model: Any) -> Any:
    """A queryset that records no changes."""
    return QuerySet(model)


def make_shelters(count: int, first: int) -> list[Shelter]:
    """Each with two pens, a guest in each, a plan, a town and a badge. first: the number of the first pen."""
    town, badge = Town.objects.create(name="Ayr"), Badge.objects.create(name="gold")
    shelters = [Shelter(name=str(number), town=town) for number in range(count)]
    numbers = range(first, first + 2 * count)
    through = Shelter.badges.through
    for model, rows in (
        (Shelter, shelters),
        (Pen, [Pen(pk=each, shelter=shelters[(each - first) // 2], name=f"{each:06}") for each in numbers]),
        (Guest, [Guest(pk=each, pen_id=each, name=f"{each:06}") for each in numbers]),
        (Plan, [Plan(pk=each, pen_id=each, text="square") for each in numbers[::2]]),
        (through, [through(shelter_id=shelter.pk, badge_id=badge.pk) for shelter in shelters]),
    ):
        plain(model).bulk_create(rows)
    return shelters


def move(chance: random.Random, shelters: list[Shelter], pens: range) -> None:
    pen, shelter, name = chance.choice(pens), chance.choice(shelters), str(chance.randrange(1000))
    acts: list[Callable[[], object]] = [
        lambda: Pen.objects.filter(pk=pen).update(shelter=shelter),
        lambda: Pen.objects.filter(pk=pen).update(name=name),
        lambda: Guest.objects.filter(pk=pen).update(pen=chance.choice(pens)),
        lambda: Guest.objects.filter(pk=pen).update(name=name),
        lambda: Plan.objects.filter(pen=pen).update(text=name),
        lambda: Town.objects.filter(pk=shelter.town_id).update(name=name),
        lambda: shelter.badges.clear(),
        lambda: shelter.badges.add(Badge.objects.create(name=name)),
    ]
    chance.choices(acts, weights=[9, 3, 3, 3, 3, 0.1, 1, 1])[0]()


def test_verify_finds_all_seeded_differences_and_no_other(mongo: Database, settings: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    settings.SYNC_INLINE = False
    still, live = make_shelters(SEEDED, 1), make_shelters(LIVE, 10_000)
    backfill.plan(Target(Shelter))
    confirm()
    documents = mongo.zoo_shelters
    writes = []
    for number, shelter in enumerate(chance.sample(still, SEEDED)):
        document = documents.find_one({"_id": ObjectId(shelter.pk)})
        assert document is not None
        DIFFERENCES[number % len(DIFFERENCES)](document)
        writes.append(ReplaceOne({"_id": document["_id"]}, document))
    documents.bulk_write(writes)

    stop, moves, failures = threading.Event(), [0, 0], []

    def run(act: Callable[[], None]) -> None:
        try:
            while not stop.is_set():
                act()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    def write(number: int, own: random.Random) -> None:
        try:
            move(own, live, range(10_000, 10_000 + 2 * LIVE))
            moves[number] += 1
        except OperationalError:  # a deadlock among the application's own writes
            pass
        stop.wait(PAUSE)

    def deliver() -> None:
        Relay().drain()
        stop.wait(0.02)

    acts = [partial(write, number, random.Random(seed + number)) for number in (0, 1)]
    threads = [threading.Thread(target=run, args=[act]) for act in (*acts, deliver)]
    for thread in threads:
        thread.start()
    try:
        runs = [verify(Target(Shelter)) for _ in range(3)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"{sum(moves)} moves; differences found: {[run.found for run in runs]}")
    assert not failures
    assert sum(moves) > 50
    for found in runs:
        assert {mismatch.key for mismatch in found.mismatches} <= {shelter.pk for shelter in still}
    assert {run.found for run in runs} == {SEEDED}
