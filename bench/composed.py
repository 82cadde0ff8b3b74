"""Measures documents built of several tables. `python -m bench.composed`

reading: 500 parents with ten children each, as one delivery reads them; by a join that is written by hand; and parent
by parent (N+1). saving: a child whose parent's document embeds it, and the same row without embedding. fan-out: one row
changes that very many documents embed: the rate, the memory, and how long single saves of others take to arrive. small
fan-outs: many rows change that one document each embeds, further down.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import threading
import time
from typing import Any

from bench.harness import compare, portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parents", type=int, default=100_000, help="of the fan-out (default: %(default)s)")
    options = parser.parse_args()
    with portal("tests.settings"):
        reading(options.rounds)
        saving(options.rounds)
        small_fan_outs()
        fan_out(options.parents)


def reading(rounds: int) -> None:
    from django.db import connection

    from sync.mapping.composed import documents_of
    from sync.mapping.registry import Target
    from sync.tests.zoo.models import Guest, Pen, Shelter

    shelters = [Shelter(name=str(number)) for number in range(500)]
    Shelter.objects.bulk_create(shelters)
    numbers = range(1, 5001)
    pens = [Pen(pk=number, shelter=shelters[number % 500], name=str(number)) for number in numbers]
    Pen.objects.bulk_create(pens)
    Guest.objects.bulk_create([Guest(pk=number, pen_id=number, name=str(number)) for number in numbers])
    keys = [shelter.pk for shelter in shelters]

    def ours() -> None:
        assert len(documents_of(Target(Shelter), keys, "default")) == 500

    def one_by_one() -> None:
        for key in keys:
            documents_of(Target(Shelter), [key], "default")

    places = ", ".join(["%s"] * len(keys))
    sql = (
        "SELECT s.id, s.name, p.id, p.name, g.name FROM zoo_shelter s JOIN zoo_pen p ON p.shelter_id = s.id "  # noqa: S608
        f"LEFT JOIN zoo_guest g ON g.pen_id = p.id WHERE s.id IN ({places}) ORDER BY s.id, p.name, p.id, g.arrived DESC"
    )

    def join() -> None:
        documents: dict[str, Any] = {}
        with connection.cursor() as cursor:
            cursor.execute(sql, keys)
            for shelter, name, pen, pen_name, guest in cursor:
                document = documents.setdefault(shelter, {"_id": shelter, "name": name, "pens": {}})
                guests = document["pens"].setdefault(pen, {"_id": pen, "name": pen_name, "guests": []})["guests"]
                guests.append({"name": guest})
        assert len(documents) == 500

    times = compare({"a join by hand": join, "ours": ours, "N+1": one_by_one}, rounds, 1)
    print_ratios("Reading 500 documents with 5,000 children and 5,000 grandchildren", times, ["a join by hand", "ours"])


def saving(rounds: int) -> None:
    from django.conf import settings

    from sync.tests.zoo.models import Animal, Keeper, Pen

    settings.SYNC_INLINE = False
    keeper = Keeper.objects.create(name="k")
    mirrored = Animal.objects.create(name="a", keeper=keeper)
    embedded = Pen.objects.all()[0]

    def save(row: Any) -> None:
        row.name = "b" if row.name == "a" else "a"
        row.save()

    variants = {"a mirrored row": lambda: save(mirrored), "an embedded row": lambda: save(embedded)}
    print_ratios("Saving one row, inline delivery off", compare(variants, 4 * rounds, 50), ["a mirrored row"])


def fan_out(parents: int) -> None:
    from django.db import connection
    from django.db.models import QuerySet

    from sync.mapping.registry import Target
    from sync.outbox import backfill
    from sync.outbox.models import Change
    from sync.outbox.relay import Relay
    from sync.tests.zoo.models import Keeper, Shelter, Town

    plain: Any = QuerySet(Shelter)
    town = Town.objects.create(name="0")
    for start in range(0, parents, 5000):
        rows = [Shelter(name=str(number), town=town) for number in range(start, min(start + 5000, parents))]
        plain.bulk_create(rows)  # without a change of each row
    backfill.plan(Target(Shelter))
    Relay(threads=2).drain()
    relay = Relay(threads=2)
    thread = threading.Thread(target=relay.run)
    thread.start()
    print(f"Single saves arrive after {_latency(Keeper, 40)} without a fan-out, p50 and p95", flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    town.name = "1"
    town.save()
    during = _latency(Keeper, 40)
    while Change.objects.exclude(via="").exists():
        time.sleep(0.05)
    took = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"Single saves arrive after {during} during the fan-out")
    print(f"Fan-out to {parents:,} documents: {parents / took:,.0f} per second, {(after - before) / 1024:.1f} MB more")
    relay.stop.set()
    thread.join()
    connection.close()


def small_fan_outs() -> None:
    from sync.outbox.models import Change
    from sync.outbox.relay import Relay
    from sync.tests.zoo.models import Guest

    Relay().drain()
    Guest.objects.update(name="other")
    count = Change.objects.exclude(via="").count()
    begun = time.monotonic()
    Relay().drain()
    print(f"{count:,} fan-outs to one document each: {count / (time.monotonic() - begun):,.0f} per second", flush=True)


def _latency(model: Any, saves: int) -> str:
    """From the commit until the change is delivered and removed, over some saves of other rows."""
    from sync.outbox.models import Change

    times = []
    for number in range(saves):
        row = model.objects.create(name=str(number))
        start = time.perf_counter()
        while Change.objects.filter(key=row.pk).exists():
            time.sleep(0.001)
        times.append((time.perf_counter() - start) * 1000)
    return f"{statistics.median(times):.0f} and {statistics.quantiles(times, n=20)[18]:.0f} ms"


if __name__ == "__main__":
    main()
