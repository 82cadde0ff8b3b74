"""Documents are made of the columns' values, unless the application takes part in making instances of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId
from django.db import models
from django.db.models import signals
from pymongo.database import Database

from finance.models import Account
from sync.mapping import row_documents
from sync.outbox.relay import Relay
from sync.tests.support.factories import make

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

Change = Callable[[pytest.MonkeyPatch], None]


def own_from_db(patch: pytest.MonkeyPatch) -> None:
    def from_db(cls: Any, *args: Any, **more: Any) -> Any:
        row = models.Model.from_db.__func__(cls, *args, **more)  # type: ignore[attr-defined]
        row.limit = 7
        return row

    patch.setattr(Account, "from_db", classmethod(from_db))


def own_init(patch: pytest.MonkeyPatch) -> None:
    def init(self: Any, *args: Any, **more: Any) -> None:
        models.Model.__init__(self, *args, **more)
        self.limit = 7

    patch.setattr(Account, "__init__", init)


def own_attribute(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Account, "limit", property(lambda row: 7, lambda row, value: None))


def own_to_document(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Account, "to_document", lambda row: {"_id": ObjectId(row.pk), "limit": 7})


def seven(sender: Any, instance: Any, **more: Any) -> None:
    instance.limit = 7


def a_signal(patch: pytest.MonkeyPatch) -> None:
    signals.post_init.connect(seven, sender=Account)


@pytest.fixture
def receivers() -> Any:
    yield
    signals.post_init.disconnect(seven, sender=Account)
    row_documents._has_plain_attributes.cache_clear()


@pytest.mark.parametrize("change", [own_from_db, own_init, own_attribute, own_to_document, a_signal])
def test_what_an_application_does_to_an_instance_is_in_its_document(
    mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch, receivers: None, change: Change
) -> None:
    settings.SYNC_INLINE = False
    make(1, limit=1).save()
    row_documents._has_plain_attributes.cache_clear()
    change(monkeypatch)
    Relay().drain()
    assert mongo.accounts.find_one({}, {"_id": 0, "limit": 1}) == {"limit": 7}


def test_other_rows_are_delivered_without_instances(
    mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SYNC_INLINE = False
    make(1, limit=1).save()
    monkeypatch.setattr(row_documents, "by_key", None)
    Relay().drain()
    assert mongo.accounts.find_one({}, {"_id": 0, "limit": 1}) == {"limit": 1}
