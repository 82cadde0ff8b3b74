"""System checks reject a misconfiguration that would lose changes before any process starts."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import models
from django.test.utils import isolate_apps

from sync.checks.mirrored import check_models, check_settings
from sync.mapping.fields import ObjectIdField
from sync.outbox.mirrored import Mirror, MirroredModel

pytestmark = pytest.mark.quick


def ids() -> list[str | None]:
    return [message.id for message in check_settings(None)]


def test_the_project_passes() -> None:
    assert [message for message in run_checks() if (message.id or "").startswith("sync.")] == []


def test_a_published_mirror_needs_a_broker(settings: Any) -> None:
    assert "sync.E018" not in ids()
    settings.SYNC_KAFKA = {"security.protocol": "SSL"}
    [error] = [error for error in check_settings(None) if error.id == "sync.E018"]
    assert "news.story@kafka:story-events" in error.msg


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("MONGODB_URI", "mongodb://127.0.0.1:1/", "sync.E001"),
        ("MONGODB_URI", "", "sync.E001"),
        ("MONGODB_URI", "mysql://127.0.0.1/analytics", "sync.E001"),
        ("SYNC_TARGETS", {"": "mongodb://127.0.0.1:1/analytics"}, "sync.E001"),
        ("SYNC_TARGETS", {"x" * 51: "mongodb://127.0.0.1:1/analytics"}, "sync.E001"),
        ("SYNC_SETTLE", 1.0, "sync.E002"),
        ("SYNC_LEASE", 0.1, "sync.E002"),
        ("SYNC_TIMEOUT", 1000.0, "sync.E002"),
        ("SYNC_BATCH", 0, "sync.E002"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: Any, check: str, settings: Any) -> None:
    setattr(settings, name, value)
    messages = check_settings(None)
    assert check in [message.id for message in messages]
    assert name in " ".join(message.msg for message in messages)


def test_another_isolation_level_is_rejected(monkeypatch: Any, settings: Any) -> None:
    database = settings.DATABASES["default"]
    monkeypatch.setitem(database, "ENGINE", "django.db.backends.mysql")
    monkeypatch.setitem(database, "OPTIONS", {"isolation_level": "repeatable read"})
    assert ids() == ["sync.E003"]


def messages_of(model: type[models.Model], monkeypatch: Any) -> list[str | None]:
    monkeypatch.setattr("sync.checks.mirrored.apps.get_models", lambda: [model])
    monkeypatch.setattr("sync.checks.mirrored.mirrored_models", lambda: [model] if hasattr(model, "mirror") else [])
    return [message.id for message in check_models(None)]


@isolate_apps("sync.tests.zoo")
def test_a_model_must_declare_where_it_is_mirrored(monkeypatch: Any) -> None:
    class Nowhere(MirroredModel):
        class Meta(MirroredModel.Meta):
            app_label = "zoo"

    assert messages_of(Nowhere, monkeypatch) == ["sync.E010"]


@isolate_apps("sync.tests.zoo")
def test_a_manager_that_records_no_changes_is_rejected(monkeypatch: Any) -> None:
    class Careless(MirroredModel):
        mirror = Mirror("careless")
        objects = models.Manager()

        class Meta:
            app_label = "zoo"

    assert set(messages_of(Careless, monkeypatch)) == {"sync.E012"}


@isolate_apps("sync.tests.zoo")
def test_fields_without_a_bson_type_are_rejected(monkeypatch: Any) -> None:
    class Strange(models.Field):
        pass

    class Wide(MirroredModel):
        id = ObjectIdField(primary_key=True)
        amount = models.DecimalField(max_digits=35, decimal_places=2)
        strange = Strange()
        mirror = Mirror("wide", exclude=("nothing",), extra="amount")

        class Meta(MirroredModel.Meta):
            app_label = "zoo"

    assert messages_of(Wide, monkeypatch) == ["sync.E013", "sync.E013", "sync.E014"]
    monkeypatch.setattr(Wide, "mirror", Mirror("wide", exclude=("strange",)))
    assert messages_of(Wide, monkeypatch) == ["sync.E015"]
