"""Fixtures for the tests of the outbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from pymongo import monitoring
from pymongo.database import Database

from finance.models import Account
from sync.mongodb import client as engine
from sync.mongodb import sharding
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm


@pytest.fixture
def accounts(mongo: Database) -> list[Account]:
    """Three accounts, in both databases."""
    accounts = [make(number) for number in range(3)]
    for account in accounts:
        account.save()
    assert mongo.accounts.count_documents({}) == 3
    confirm()
    return accounts


class Commands(monitoring.CommandListener):
    """The commands that the engine's client sends."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.seen.append(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Not needed."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Not needed."""


@pytest.fixture
def commands(mongo: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    listener, make = Commands(), pymongo.MongoClient
    monkeypatch.setattr(pymongo, "MongoClient", lambda *args, **more: make(*args, event_listeners=[listener], **more))
    _forget()
    yield listener.seen
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    engine.forget_clients()
    sharding.require_keys.cache_clear()
