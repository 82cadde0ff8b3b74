"""System checks refuse embeds that could not be kept up to date."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from sync.checks.composed import check_composed_models
from sync.checks.mirrored import check_models
from sync.mapping.embeds import Ids, Many, One
from sync.outbox.mirrored import Embedded, Mirror, MirroredModel
from sync.tests.zoo.models import Shelter

pytestmark = pytest.mark.quick


def problems(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("sync.checks.composed.mirrored_models", lambda: [model])
    return [f"{error.id}: {error.msg}" for error in check_composed_models(None)]


def test_the_zoo_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(Shelter, monkeypatch) == []
    assert [error for error in check_models(None) if error.obj is Shelter] == []


PENS = Many("pen_set", "pens", fields=("name",))


@pytest.mark.parametrize(
    ("embed", "expected"),
    [
        (Many("nothing", "x"), "sync.E029: zoo.Shelter has no relation 'nothing' to embed."),
        (Many("name", "x"), "sync.E029: zoo.Shelter has no relation 'name' to embed."),
        (Many("town", "x"), "sync.E029: zoo.Shelter.town names one row: embed it with One."),
        (One("pen_set", "x"), "sync.E029: zoo.Shelter.pen_set names many rows: embed them with Many."),
        (One("badges", "x"), "sync.E029: zoo.Shelter.badges names many rows: use Many or Ids."),
        (Ids("pen_set", "x"), "sync.E029: zoo.Shelter.pen_set is no many-to-many relation, as Ids needs."),
        (Many("pen_set", "x", embed=(Many("plan", "y"),)), "sync.E029: zoo.Pen.plan names one row: embed it with One."),
        (Many("pen_set", "x", fields=("size",)), "sync.E029: Pen has no field named 'size', which zoo.Shelter embeds."),
        (Many("pen_set", "x", order_by=("-size",)), "sync.E029: Pen has no field named 'size', which order_by names."),
        (Many("pen_set", "x", limit=0), "sync.E029: x: limit must be at least 1."),
        (Many("pen_set", "name"), "sync.E032: zoo.Shelter, embed 'name': the name 'name' occurs twice."),
        (Many("pen_set", "_sync"), "sync.E032: zoo.Shelter, embed '_sync': the name '_sync' occurs twice."),
        (Many("pen_set", "a.b"), "sync.E032: zoo.Shelter, embed 'a.b': 'a.b' cannot be the name of a field."),
        (
            Many("pen_set", "x", fields=("name",), embed=(Many("guest_set", "name"),)),
            "sync.E032: zoo.Shelter, embed 'x': the name 'name' occurs twice.",
        ),
        (
            Many("pen_set", "x", embed=(One("shelter", "y"),)),
            "sync.E033: x.y embeds zoo.Shelter in itself.",
        ),
    ],
)
def test_an_embed_that_cannot_be(embed: Any, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelter, "mirror", Mirror("zoo_shelters", embed=(embed,)))
    assert problems(Shelter, monkeypatch) == [expected]


def test_two_embeds_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelter, "mirror", Mirror("zoo_shelters", embed=(PENS, Ids("badges", "pens"))))
    assert problems(Shelter, monkeypatch) == ["sync.E032: zoo.Shelter, embed 'pens': the name 'pens' occurs twice."]


def test_an_unknown_target_to_embed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelter, "mirror", Mirror("zoo_shelters", embed=(PENS,), embed_in=("views",)))
    assert problems(Shelter, monkeypatch) == [
        "sync.E029: zoo.Shelter has embed_in=['views'], which are no targets of it."
    ]


@isolate_apps("sync.tests.zoo")
def test_an_embedded_model_must_record_its_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nurse(Embedded):
        class Meta(Embedded.Meta):
            app_label = "zoo"

    class Ward(MirroredModel):
        mirror = Mirror("wards", embed=(Many("bed_set", "beds"), Many("nurses", "nurses"), Many("lamp_set", "lamps")))
        nurses: Any = models.ManyToManyField(Nurse, through="zoo.Duty")  # type: ignore[misc]  # made below

        class Meta(MirroredModel.Meta):
            app_label = "zoo"

    class Bed(models.Model):
        ward = models.ForeignKey(Ward, on_delete=models.CASCADE)

        class Meta:
            app_label = "zoo"

    class Duty(models.Model):
        ward = models.ForeignKey(Ward, on_delete=models.CASCADE)
        nurse = models.ForeignKey(Nurse, on_delete=models.CASCADE)

        class Meta:
            app_label = "zoo"

    class Lamp(Embedded):
        ward = models.ForeignKey(Ward, on_delete=models.CASCADE, db_index=False)
        objects = models.Manager()

        class Meta:
            app_label = "zoo"

    assert {Nurse, Bed, Duty, Lamp}
    found = problems(Ward, monkeypatch)
    assert [each for each in found if "E012" not in each] == [
        "sync.E030: zoo.Bed is embedded at beds, and its writes are not captured.",
        "sync.E030: zoo.Duty is embedded at nurses, and its writes are not captured.",
        "sync.E031: zoo.Lamp.ward has no index, and each delivery of a document that embeds it would read the whole "
        "table.",
    ]
    assert [each for each in found if "E012" in each] == [
        "sync.E012: zoo.Lamp.objects writes without recording changes."
    ]
