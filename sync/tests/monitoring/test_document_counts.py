"""The number of documents of each target in status, counted without a MongoDB server (mongomock)."""

from __future__ import annotations

from typing import Any

import mongomock
import pytest
from pymongo.errors import ConnectionFailure, ExecutionTimeout

from finance.models import Account
from sync.mapping.registry import Target
from sync.monitoring import status

pytestmark = pytest.mark.quick


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The database that status reads."""
    database = mongomock.MongoClient(tz_aware=True)["analytics"]
    monkeypatch.setattr(status, "database", lambda queue: database)
    monkeypatch.setattr(status, "collection", lambda target: database[target.collection])
    return database


def test_each_target_has_its_own_count(documents: Any) -> None:
    documents["accounts"].insert_many([{"_id": number} for number in range(3)])
    counts, errors = status._documents(count=True)
    assert counts["finance.account"] == 3
    assert counts["finance.customer"] == 0
    assert errors == {}


def test_documents_are_counted_only_on_request(documents: Any) -> None:
    assert status._documents(count=False) == ({}, {})


def test_a_count_that_takes_too_long_is_unknown_and_the_others_are_known(
    documents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents["customers"].insert_one({"_id": 1})

    class Slow:
        def count_documents(self, *args: Any, **kwargs: Any) -> int:
            raise ExecutionTimeout("operation exceeded time limit", 50)

    monkeypatch.setattr(
        status, "collection", lambda target: Slow() if target == Target(Account) else documents[target.collection]
    )
    counts, errors = status._documents(count=True)
    assert "finance.account" not in counts
    assert counts["finance.customer"] == 1
    assert errors == {}


def test_an_unreachable_server_is_reported_with_the_reason(documents: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(queue: str) -> Any:
        raise ConnectionFailure("connection refused")

    monkeypatch.setattr(status, "database", unreachable)
    counts, errors = status._documents(count=True)
    assert counts == {}
    assert list(errors) == [""]
