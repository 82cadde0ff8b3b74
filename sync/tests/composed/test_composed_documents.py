"""Documents that embed rows of other tables follow every write that concerns them."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pymongo.database import Database

from sync.mapping import composed
from sync.mapping.registry import Target
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill, fan_out, mongo_writer
from sync.outbox.mapping_changes import fingerprint
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.composed import World, expected, make_world, stored
from sync.tests.support.composed_writes import WRITES, Write, move_a_child_that_has_moved
from sync.tests.support.hurry import confirm
from sync.tests.zoo.models import Guest, Pen, Shelter, Town
from sync.verification.inspection import inspect
from sync.verification.repair import Repairer
from sync.verification.scan import Scan
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def world(mongo: Database) -> World:
    return make_world()


def test_a_document_has_the_rows_of_all_its_tables(world: World, mongo: Database) -> None:
    assert stored(mongo) == expected()
    document = mongo.zoo_shelters.find_one({"name": "A"})
    assert [guest["name"] for guest in document["pens"][0]["guests"]] == ["Ivy", "Tom"]
    assert document["_sync"]["us"] == {"pens.0.built": 456}
    assert [badge["name"] for badge in document["badges"]] == ["silver", "gold"]


@pytest.mark.parametrize("write", WRITES)
def test_the_documents_follow(write: Write, world: World, mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = WRITES.index(write) % 2 == 0
    before = stored(mongo)
    write(world)
    Relay().drain()
    assert stored(mongo) == expected()
    assert stored(mongo) != before or write is move_a_child_that_has_moved


@pytest.mark.parametrize("write", WRITES)
def test_a_rolled_back_write_records_nothing(write: Write, world: World, mongo: Database) -> None:
    before = stored(mongo)
    waiting = Change.objects.count()
    with transaction.atomic():
        write(world)
        assert Change.objects.count() > waiting
        transaction.set_rollback(True)
    assert Change.objects.count() == waiting
    Relay().drain()
    assert stored(mongo) == before


@pytest.mark.parametrize("write", WRITES)
def test_a_rolled_back_savepoint_records_nothing(write: Write, world: World, mongo: Database, settings: Any) -> None:
    settings.SYNC_INLINE = WRITES.index(write) % 2 == 0
    waiting = Change.objects.count()
    with transaction.atomic():
        Shelter.objects.filter(name="B").update(name="renamed")
        with transaction.atomic():
            write(world)
            transaction.set_rollback(True)
        assert Change.objects.count() == waiting + 1
    Relay().drain()
    assert stored(mongo) == expected()
    assert mongo.zoo_shelters.count_documents({"name": "renamed"}) == 1


def found(world: World) -> list[str]:
    return [mismatch.key for mismatch in verify(Target(Shelter)).mismatches.order_by("key")]


def test_verify_sees_every_embedded_difference(world: World, mongo: Database) -> None:
    assert verify(Target(Shelter)).found == 0
    embedded = [
        ("pens.0.name", "other"), ("pens.0.guests.1.name", "Rob"), ("pens.0.plan.text", ""), ("town.name", "Oban"),
        ("badges.0.name", "x"), ("badge_ids.0", -1),
    ]  # fmt: skip
    for path, value in embedded:
        before = mongo.zoo_shelters.find_one({"name": "A"})
        mongo.zoo_shelters.update_one({"name": "A"}, {"$set": {path: value}})
        assert verify(Target(Shelter)).found == 1, path
        mongo.zoo_shelters.replace_one({"name": "A"}, before)
    assert verify(Target(Shelter)).found == 0


def test_verify_counts_a_fan_out_as_pending(world: World, settings: Any) -> None:
    settings.SYNC_INLINE = False
    Town.objects.update(name="Oban")
    run = verify(Target(Shelter))
    assert (run.found, run.pending) == (0, 2)
    Relay().drain()
    assert verify(Target(Shelter)).pending == 0


def test_repair_fixes_an_embedded_difference(world: World, mongo: Database) -> None:
    mongo.zoo_shelters.update_many({}, {"$set": {"pens": []}})
    repairer = Repairer(Scan(Target(Shelter), "default"))
    assert verify(Target(Shelter), repair=repairer).found == 0
    assert repairer.repaired == 1
    assert stored(mongo) == expected()


def test_the_inspection_of_a_record_has_the_embedded_rows(world: World, mongo: Database) -> None:
    mongo.zoo_shelters.update_one({"name": "A"}, {"$set": {"pens.0.plan.text": "oval"}})
    [side] = inspect(Shelter, world.a.pk).sides
    assert [difference.path for field in side.fields for difference in field.differences] == ["pens.0.plan.text"]


def test_the_inspection_of_a_record_has_the_fan_outs_that_concern_it(
    world: World, mongo: Database, settings: Any
) -> None:
    settings.SYNC_INLINE = False
    other = Shelter.objects.create(name="elsewhere")
    Relay().drain()
    Town.objects.update(name="Oban")
    [change] = inspect(Shelter, world.a.pk).changes
    assert (change.via, change.until) == ("town", str(world.town.pk))
    assert inspect(Shelter, other.pk).changes == []
    out = StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("sync", "trace", "shelter", world.a.pk, stdout=out)
    assert end.value.code == 1
    assert f"change:    zoo.shelter, fan-out of town {world.town.pk}: pending since" in out.getvalue()
    Relay().drain()
    assert inspect(Shelter, world.a.pk).changes == []


def test_a_backfill_writes_composed_documents(world: World, mongo: Database) -> None:
    mongo.zoo_shelters.delete_many({})
    backfill.plan(Target(Shelter))
    Relay().drain()
    assert stored(mongo) == expected()


def test_a_parent_with_too_many_rows_is_a_dead_letter_that_names_the_embed(world: World, mongo: Database) -> None:
    Pen.objects.bulk_create(
        [Pen(pk=world.pen.pk + 1 + number, shelter=world.a, name=str(number)) for number in range(10)]
    )
    world.b.name = "fine"
    world.b.save()
    Relay().drain()
    [change] = Change.objects.exclude(error="")
    assert change.key == world.a.pk
    assert change.error == "pens: it has more than 10 rows, its limit"
    assert mongo.zoo_shelters.find_one({"name": "fine"})


def test_many_embedded_rows_are_read_for_fewer_parents_at_a_time(
    world: World, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composed, "MOST", 3)
    Pen.objects.bulk_create(
        [Pen(pk=world.pen.pk + 1 + number, shelter=world.b, name=str(number)) for number in range(6)]
    )
    confirm()
    assert stored(mongo) == expected()


def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(
    world: World,
) -> None:
    """The snapshot, the parents, and one for each embed: two for a row that the parent names or a truncated array."""
    others = [Shelter(name=str(number)) for number in range(20)]
    Shelter.objects.bulk_create(others)
    Pen.objects.bulk_create([Pen(shelter=other, name="p", pk=world.pen.pk + 1 + n) for n, other in enumerate(others)])
    for keys in ([world.a.pk], [shelter.pk for shelter in Shelter.objects.all()]):
        with CaptureQueriesContext(connection) as captured:
            composed.documents_of(Target(Shelter), keys, "default")
        assert len(captured) <= 13


def test_another_shape_of_the_embedded_rows_is_another_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(Target(Shelter))
    pens, *others = Shelter.mirror.embed
    changed = replace(Shelter.mirror, embed=(replace(pens, fields=("pk", "name")), *others))
    monkeypatch.setattr(Shelter, "mirror", changed)
    assert fingerprint(Target(Shelter)) != before


def test_a_fan_out_is_one_change_and_resumes_after_its_last_page(
    world: World, mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SYNC_INLINE = False
    monkeypatch.setattr(fan_out, "PAGE", 7)
    Shelter.objects.bulk_create([Shelter(name=str(number), town=world.town) for number in range(20)])
    Relay().drain()
    world.town.name = "Oban"
    world.town.save()
    assert Change.objects.exclude(via="").count() == Change.objects.exclude(settling=True).count() == 1
    for done in (7, 14, 21, 22):
        backfill.work()
        assert mongo.zoo_shelters.count_documents({"town.name": "Oban"}) == done
    assert not Change.objects.exclude(via="").exists()


def test_fan_outs_of_the_same_row_are_delivered_together_unless_one_has_begun(
    world: World, mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SYNC_INLINE = False
    monkeypatch.setattr(fan_out, "PAGE", 1)
    for name in ("Oban", "Bute", "Tain"):
        world.town.name = name
        world.town.save()
    backfill.work()
    assert Change.objects.exclude(via="").count() == 1, "the first has begun and absorbed the others"
    world.town.name = "Wick"
    world.town.save()
    Relay().drain()
    assert mongo.zoo_shelters.distinct("town.name") == ["Wick"]


def test_a_page_that_could_not_be_delivered_is_delivered_again(
    world: World, mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SYNC_INLINE = False
    Town.objects.update(name="Oban")

    def fail(*_: Any, **__: Any) -> Any:
        raise Unavailable("MongoDB does not respond")

    with monkeypatch.context() as patched:
        patched.setattr(mongo_writer, "deliver", fail)
        with pytest.raises(Unavailable):
            backfill.work()
    [change] = Change.objects.exclude(via="")
    assert (change.key, change.claim) == ("", "")
    Relay().drain()
    assert mongo.zoo_shelters.distinct("town.name") == ["Oban"]


def test_one_parent_whose_children_have_too_many_rows_is_a_dead_letter(
    world: World, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Pen.objects.create(shelter=world.a, name="other")
    Guest.objects.bulk_create([Guest(pk=world.guests[-1].pk + 1 + number, pen=other, name="x") for number in range(9)])
    monkeypatch.setattr(composed, "MOST", 2)
    world.b.name = "fine"
    world.b.save()
    world.a.save()
    Relay().drain()
    failed = set(Change.objects.exclude(error="").values_list("key", "error"))
    assert failed == {(world.a.pk, "pens.guests: there are more than 2 rows; set a smaller limit")}
    assert mongo.zoo_shelters.find_one({"name": "fine"})


def test_rows_whose_keys_the_database_generates_are_captured_in_bulk(world: World, mongo: Database) -> None:
    """MySQL does not return these keys, and documents need only the parents that the rows name."""
    Guest.objects.bulk_create([Guest(pen=world.pen, name=str(number), arrived=9) for number in range(3)])
    Relay().drain()
    assert stored(mongo) == expected()
