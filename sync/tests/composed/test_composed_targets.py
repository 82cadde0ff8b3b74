"""Each target of a model embeds what it is declared to: further collections, files and Kafka topics."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from sync.mapping.registry import Target
from sync.outbox import parents
from sync.outbox.relay import Relay
from sync.tests.support.composed import expected, make_world, stored
from sync.tests.support.publishing import newest, publish
from sync.tests.zoo.models import Clinic, Guest, Pen, Shelter, Shift, Town, Vet
from sync.verification.verify import verify
from tests.kafka import Kafka

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
PAGES = "zoo_clinic_pages"


def clinic_pages(mongo: Database) -> dict[str, list[str]]:
    return {page["name"]: [vet["name"] for vet in page["vets"]] for page in mongo[PAGES].find()}


def test_only_the_target_that_embeds_has_the_embedded_rows(mongo: Database) -> None:
    clinic = Clinic.objects.create(name="North")
    vet = Vet.objects.create(name="Ann")
    Shift.objects.create(clinic=clinic, vet=vet)
    Relay().drain()
    plain, page = mongo.zoo_clinics.find_one(), mongo[PAGES].find_one()
    assert plain is not None
    assert page is not None
    assert plain.keys() == {"_id", "name", "_sync"}
    assert (page["_id"], page["vets"], page["vet_ids"]) == (ObjectId(clinic.pk), [{"name": "Ann"}], [vet.pk])
    before = plain["_sync"]
    Vet.objects.update(name="Bea")
    Relay().drain()
    assert clinic_pages(mongo) == {"North": ["Bea"]}
    assert mongo.zoo_clinics.find_one()["_sync"] == before, "its plain document was not written"
    assert verify(Target(Clinic)).found == verify(Target(Clinic, PAGES)).found == 0


def test_a_relations_own_model_is_captured_like_any_other(mongo: Database) -> None:
    """Its rows can also be written directly, which sends no signal of the relation."""
    north, south = (Clinic.objects.create(name=name) for name in ("North", "South"))
    vets = [Vet.objects.create(name=name) for name in ("Ann", "Bea", "Cy")]
    Shift.objects.bulk_create([Shift(clinic=north, vet=vet) for vet in vets])
    Relay().drain()
    assert clinic_pages(mongo) == {"North": ["Ann", "Bea", "Cy"], "South": []}
    Shift.objects.filter(vet=vets[0]).update(clinic=south)
    shift = Shift.objects.get(vet=vets[1])
    shift.clinic = south
    shift.save()
    Relay().drain()
    assert clinic_pages(mongo) == {"North": ["Cy"], "South": ["Ann", "Bea"]}
    south.vets.add(vets[2], through_defaults={"hours": 2})
    north.vets.remove(vets[2])
    Shift.objects.filter(vet=vets[0]).delete()
    Relay().drain()
    assert clinic_pages(mongo) == {"North": [], "South": ["Bea", "Cy"]}
    vets[2].delete()
    Shift.objects.all().delete()
    Relay().drain()
    assert clinic_pages(mongo) == {"North": [], "South": []}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets the targets of shelters."""

    def forget() -> None:
        for cached in (parents.embeddings, parents.columns, parents.destinations, parents._through):
            cached.cache_clear()

    def deliver_to(*targets: str) -> None:
        monkeypatch.setattr(Shelter, "mirror", dataclasses.replace(Shelter.mirror, targets=targets))
        forget()

    yield deliver_to
    monkeypatch.undo()
    forget()


def test_a_file_has_composed_documents(elsewhere: Any, mongo: Database, settings: Any, tmp_path: Path) -> None:
    settings.SYNC_FILES = str(tmp_path)
    elsewhere("", "file:shelters.jsonl")
    make_world()
    Town.objects.update(name="Oban")
    Relay().drain()
    Relay("file:shelters.jsonl").drain()
    states = {}
    for line in (tmp_path / "shelters.jsonl").read_text().splitlines():
        states[json.loads(line)["key"]] = json.loads(line)["document"]
    assert stored(mongo) == expected()
    assert {name["town"]["name"] for name in states.values()} == {"Oban"}
    [first] = [state for state in states.values() if state["name"] == "A"]
    assert [guest["name"] for guest in first["pens"][0]["guests"]] == ["Ivy", "Tom"]


def test_a_topic_has_composed_documents(elsewhere: Any, kafka: Kafka, mongo: Database) -> None:
    elsewhere("", "kafka:shelters")
    world = make_world()
    publish()
    Guest.objects.update(name="Eve")
    Pen.objects.update(shelter=world.b)
    Town.objects.update(name="Oban")
    Relay().drain()
    publish()
    states = {ObjectId(key): state for key, state in newest(kafka.read("shelters")).items()}
    for state in states.values():
        state.pop("_sync", None)  # microseconds, which BSON dates do not have
    assert states == expected() == stored(mongo)
