"""The system check refuses routers that would part the mirror's tables, or deliver from another database."""

from __future__ import annotations

from typing import Any

import pytest

from sync.checks.routers import check_routers

pytestmark = pytest.mark.quick


class ReadsElsewhere:
    """Sends reads of all models to a replica, as Django's documentation shows."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica"


class ReadsOursElsewhere(ReadsElsewhere):
    """The same, without the mirror's own tables."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return None if model._meta.app_label == "sync" else "replica"


class Writes:
    model = ""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "other" if model._meta.label == self.model else None


class WritesTheOutbox(Writes):
    model = "sync.Change"


class WritesAMirroredModel(Writes):
    model = "zoo.Animal"


class WritesAnEmbeddedModel(Writes):
    model = "zoo.Plan"


class WritesALink(Writes):
    model = "zoo.Shelter_badges"


class WritesAnOrdinaryModel(Writes):
    model = "auth.Group"


class KeepsOut(ReadsOursElsewhere):
    """A model whose table is not in the database that delivers."""

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool | None:
        return False if model_name == "animal" and db == "default" else None


def found(settings: Any, chosen: type[Any]) -> list[str]:
    settings.DATABASE_ROUTERS = [f"{__name__}.{chosen.__name__}"]
    return [f"{message.id} {message.msg}" for message in check_routers(None)]


def test_without_routers_nothing_is_reported() -> None:
    assert check_routers(None) == []


def test_a_router_may_send_reads_of_the_applications_models_to_a_replica(settings: Any) -> None:
    assert found(settings, ReadsOursElsewhere) == []
    assert found(settings, WritesAnOrdinaryModel) == []


def test_reads_of_the_mirrors_own_tables_stay_where_it_writes(settings: Any) -> None:
    messages = found(settings, ReadsElsewhere)
    assert any("reads of sync.Change" in message for message in messages)
    assert any("reads of sync.Checkpoint" in message for message in messages)
    assert all(message.startswith("sync.E034") and "sync." in message[10:] for message in messages)


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        (WritesTheOutbox, "writes of sync.Change"),
        (WritesAMirroredModel, "writes of zoo.Animal"),
        (WritesAnEmbeddedModel, "writes of zoo.Plan"),
        (WritesALink, "writes of zoo.Shelter_badges"),
        (KeepsOut, "keeps zoo.Animal out of the database 'default'"),
    ],
)
def test_what_would_part_rows_from_their_changes_is_refused(settings: Any, chosen: type[Any], named: str) -> None:
    [message] = found(settings, chosen)
    assert message.startswith("sync.E034")
    assert named in message
