"""Small fan-outs of the same embed are delivered together; a large one beside them is delivered page by page."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from pymongo.database import Database

from sync.outbox import backfill, fan_out
from sync.outbox.models import Change
from sync.outbox.mongo_writer import State
from sync.outbox.relay import Relay
from sync.tests.support.composed import expected, stored
from sync.tests.zoo.models import Shelter, Town
from sync.workers.models import ModelState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
SMALL = 12
IN_EACH = 3


@pytest.fixture
def towns(mongo: Database[dict[str, Any]], settings: Any) -> list[Town]:
    """Towns with a few shelters each, whose documents are delivered."""
    settings.SYNC_INLINE = False
    towns = [Town.objects.create(name=f"Town {number}") for number in range(SMALL)]
    Shelter.objects.bulk_create([Shelter(name="small", town=town) for town in towns for _ in range(IN_EACH)])
    Relay().drain()
    return towns


def fan_outs() -> models.QuerySet[Change]:
    return Change.objects.exclude(via="")


def work() -> int:
    """Delivers once; how many documents."""
    done = backfill.work()
    assert done
    return sum(done[1].values())


def rename(towns: list[Town]) -> None:
    for town in towns:
        town.name += " upon Sea"
        town.save()


def versions(mongo: Database[dict[str, Any]]) -> dict[Any, int]:
    return {each["_id"]: each["_sync"]["v"] for each in mongo.zoo_shelters.find()}


def test_small_ones_are_delivered_at_once(towns: list[Town], mongo: Database[dict[str, Any]]) -> None:
    rename(towns)
    assert fan_outs().count() == SMALL
    assert work() == SMALL * IN_EACH
    assert not fan_outs().exists()
    assert stored(mongo) == expected()


def test_a_document_that_several_concern_is_delivered_once(
    towns: list[Town], mongo: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename(towns)
    rename(towns[:4])
    assert fan_outs().count() == SMALL + 4
    delivered: list[str] = []
    deliver = backfill._deliver

    def count(target: Any, keys: list[Any], *arguments: Any) -> dict[State, int]:
        delivered.extend(keys)
        return deliver(target, keys, *arguments)

    monkeypatch.setattr(backfill, "_deliver", count)
    Relay().drain()
    assert sorted(delivered) == sorted(Shelter.objects.values_list("pk", flat=True))
    assert stored(mongo) == expected()


def test_as_many_are_delivered_together_as_a_page_holds(
    towns: list[Town], mongo: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "PAGE", 4 * IN_EACH)
    rename(towns)
    assert work() == SMALL // 4 * IN_EACH, "twelve are too many, six too, three fit"
    assert fan_outs().filter(claim="").count() == SMALL - 3, "the others can be claimed at once"
    Relay().drain()
    assert stored(mongo) == expected()


def test_a_large_one_does_not_hold_the_small_ones_up(
    towns: list[Town], mongo: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "PAGE", SMALL * IN_EACH)
    large = Town.objects.create(name="Large")
    Shelter.objects.bulk_create([Shelter(name="large", town=large) for _ in range(5 * SMALL * IN_EACH)])
    Relay().drain()
    rename([large, *towns])
    assert work() == fan_out.PAGE
    assert [change.until for change in fan_outs().exclude(key="")] == [str(large.pk)]
    assert work() == SMALL * IN_EACH
    assert [change.until for change in fan_outs()] == [str(large.pk)]
    assert mongo.zoo_shelters.count_documents({"name": "small", "town.name": {"$regex": "Sea$"}}) == SMALL * IN_EACH
    Relay().drain()
    assert stored(mongo) == expected()


def test_a_row_without_documents_is_removed_with_the_others(towns: list[Town], mongo: Database[dict[str, Any]]) -> None:
    rename([Town.objects.create(name="Empty"), *towns, Town.objects.create(name="Empty, too")])
    assert work() == SMALL * IN_EACH
    assert not fan_outs().exists()


def test_a_document_that_cannot_be_delivered_does_not_stop_the_others(
    towns: list[Town], mongo: Database[dict[str, Any]]
) -> None:
    refused = Shelter.objects.filter(town=towns[3]).earliest("pk")
    mongo.command("collMod", "zoo_shelters", validator={"$nor": [{"name": "refused"}]})
    try:
        models.QuerySet(Shelter).filter(pk=refused.pk).update(name="refused")
        rename(towns)
        Relay().drain()
    finally:
        mongo.command("collMod", "zoo_shelters", validator={})
    [left] = Change.objects.all()
    assert (left.key, left.via, left.attempts) == (refused.pk, "", 1)
    wrong = {key for key, document in expected().items() if stored(mongo)[key] != document}
    assert {str(key) for key in wrong} == {refused.pk}


def test_a_paused_target_keeps_them(towns: list[Town], mongo: Database[dict[str, Any]]) -> None:
    rename(towns)
    before = versions(mongo)
    ModelState.objects.update_or_create(model="zoo.shelter", defaults={"paused": True})
    assert backfill.work() is None
    assert versions(mongo) == before
    assert fan_outs().filter(claim="").count() == SMALL
