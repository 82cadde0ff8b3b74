"""The reasons that delivery really gives fall into the classes that status counts."""

from typing import Any

import pytest
from pymongo.database import Database

from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.monitoring.status import status
from sync.outbox.failures import Failures, failures
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.factories import make

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def left(mongo: Database, settings: Any) -> None:
    """One account's change, left to the relay."""
    settings.SYNC_INLINE = False
    make(1).save()


def reasons(model: str = "finance.account") -> list[Failures]:
    Relay().drain()
    return failures("default")[model]


def test_too_large(left: None, monkeypatch: Any) -> None:
    monkeypatch.setattr("sync.outbox.mongo_writer.MAX_BSON_SIZE", 10)
    assert reasons() == [Failures("too large", 0, 1)]


def test_refused_by_mongodb(left: None, mongo: Database) -> None:
    mongo.accounts.create_index("_sync.v", name="_sync.v")
    mongo.command("collMod", "accounts", validator={"limit": {"$lt": 0}})
    try:
        assert reasons() == [Failures("rejected by MongoDB", 0, 1)]
    finally:
        mongo.command("collMod", "accounts", validator={})


def test_cannot_be_mapped(left: None, monkeypatch: Any, settings: Any) -> None:
    settings.SYNC_MAX_ATTEMPTS = 1
    monkeypatch.setattr(Account, "to_document", lambda self: 1 / 0)
    assert reasons() == [Failures("cannot be mapped", 1, 0)]


def test_model_is_gone(mongo: Database) -> None:
    Change.objects.create(model="finance.ledger", key="1", due_at=DatabaseNow())
    assert reasons("finance.ledger") == [Failures("target is gone", 0, 1)]
    gone = status().models[-1]
    assert (gone.model, gone.rows, gone.documents, gone.pending) == ("finance.ledger", None, None, 1)
