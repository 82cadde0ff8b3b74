"""Relations that `to_document` follows are read from the database of the row, whatever the routers return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from pymongo.database import Database

from sync.kafka import messages
from sync.mapping.documents import document_of
from sync.mapping.registry import Target, all_rows
from sync.outbox.mongo_writer import Outcome, read_documents
from sync.outbox.relay import Relay
from sync.tests.zoo.models import Animal, Keeper, Tag
from sync.verification import verify

pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
REPLICA = "replica"


class ReadsTheReplica:
    """A router as applications with a read replica use it."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return REPLICA

    def allow_relation(self, *args: Any, **hints: Any) -> bool:
        return True


@pytest.fixture
def replica(settings: Any, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any) -> Iterator[None]:
    """An empty replica, a router that reads everything from it, and a mapping that follows relations."""

    def to_document(animal: Animal) -> dict[str, Any]:
        tags = sorted(tag.name for tag in animal.tags.all())
        patients = animal.keeper.patients.count()
        return {**own(animal), "keeper": animal.keeper.name, "tags": tags, "patients": patients}

    own = Animal.to_document
    connections.settings[REPLICA] = {
        **connections["default"].settings_dict,
        "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "OPTIONS": {},
    }  # fmt: skip
    monkeypatch.setattr(Animal, "to_document", to_document)
    settings.DATABASE_ROUTERS = [f"{__name__}.ReadsTheReplica"]
    with django_db_blocker.unblock():
        with connections[REPLICA].schema_editor() as editor:
            for model in (Keeper, Tag, Animal):
                editor.create_model(model)
        yield
        connections[REPLICA].close()
    del connections[REPLICA]
    del connections.settings[REPLICA]


def animal() -> str:
    keeper = Keeper.objects.create(name="Ada")
    made = Animal.objects.create(name="Leo", keeper=keeper, vet=keeper)
    made.tags.set([Tag.objects.create(name="big")])
    return str(made.pk)


def test_a_delivered_document_has_the_current_related_rows(
    replica: None, settings: Any, mongo: Database[dict[str, Any]]
) -> None:
    settings.SYNC_INLINE = False
    animal()
    Relay().drain()
    [document] = mongo.zoo_animals.find({})
    assert (document["keeper"], document["tags"], document["patients"]) == ("Ada", ["big"], 1)


def test_verify_reads_the_same_related_rows(replica: None, settings: Any, mongo: Database[dict[str, Any]]) -> None:
    settings.SYNC_INLINE = False
    animal()
    Relay().drain()
    run = verify.verify(Target(Animal))
    assert (run.compared, run.found, run.pending) == (1, 0, 0), run.mismatches


def test_a_message_has_the_current_related_rows(replica: None) -> None:
    key = animal()
    assert b"Ada" in messages.encode(read_documents(Target(Animal), [key], "default", Outcome())[key])


def test_a_related_model_in_another_database_is_read_from_it(replica: None, monkeypatch: pytest.MonkeyPatch) -> None:
    key = animal()
    keeper = Keeper.objects.using("default").get()
    with connections[REPLICA].cursor() as cursor:
        cursor.execute("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'Elsewhere')", [keeper.pk])
    elsewhere = lambda self, db, label, **hints: None if db == REPLICA else hints.get("model") is not Keeper  # noqa: E731
    monkeypatch.setattr(ReadsTheReplica, "allow_migrate", elsewhere, raising=False)
    monkeypatch.setattr(Animal, "to_document", lambda animal: {"keeper": animal.keeper.name})
    assert document_of(all_rows(Animal, "default").get(pk=key)) == {"keeper": "Elsewhere"}
