"""Relays share the keys among them without claims: each running relay delivers its own, and helps when one is dead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from pymongo.database import Database

from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.outbox import relay as relays
from sync.outbox.models import WHOLE, Change, Shard
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.workers.models import Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ROWS = 300


@pytest.fixture(autouse=True)
def rows(mongo: Database, settings: Any) -> None:
    if connection.vendor != "mysql":
        pytest.skip("relays share keys only on MySQL and MariaDB")
    settings.SYNC_INLINE = False
    Account.objects.bulk_create([make(number) for number in range(ROWS)])


@pytest.fixture
def three() -> Iterator[list[Relay]]:
    """Three running relays."""
    all_of_them = [Relay(batch=20, threads=2) for _ in range(3)]
    for relay in all_of_them:
        relay.heartbeat.write()
    yield all_of_them
    for relay in all_of_them:
        relay.heartbeat.end()


def test_each_key_is_one_relays_and_all_are_delivered_once(three: list[Relay], mongo: Database) -> None:
    assert sorted(relay.shards.mine() for relay in three) == [Shard(number, 3) for number in range(3)]
    delivered = []

    def work(relay: Relay) -> None:
        delivered.append(sum(relay.drain().values()))
        connections.close_all()

    threads = [threading.Thread(target=work, args=[relay]) for relay in three]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(delivered) == ROWS
    assert all(ROWS / 6 < count < ROWS / 2 for count in delivered), delivered
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


def test_all_changes_of_a_key_are_in_one_shard() -> None:
    Account.objects.update(limit=7)
    parts = [Change.objects.look("", 10 * ROWS, Shard(number, 3)) for number in range(3)]
    keys = [{change.key for change in part} for part in parts]
    assert [len(part) for part in parts] == [2 * len(each) for each in keys]
    assert sum(map(len, keys)) == len(set().union(*keys)) == ROWS


def test_the_keys_of_a_killed_relay_are_delivered_by_the_others(
    three: list[Relay], mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *_ = three
    one.drain()
    assert 0 < Change.objects.count() < ROWS, "the others' keys are left to them"
    monkeypatch.setattr(relays, "HELP", 0.3)
    Change.objects.update(due_at=DatabaseNow() - timedelta(seconds=1))
    one.next_help = 0.0
    one.drain()
    assert not Change.objects.exists()
    assert differences(Account, mongo) == []


def test_a_silent_relay_has_no_shard(three: list[Relay]) -> None:
    one, other, _ = three
    Worker.objects.exclude(pk=one.heartbeat.id).update(heartbeat_at=DatabaseNow() - timedelta(seconds=60))
    assert one.shards.mine() == WHOLE
    assert other.shards.mine() == WHOLE, "its own heartbeat is too old, so it does not know who the others are"


def test_a_change_that_was_put_off_meanwhile_is_not_removed() -> None:
    [change] = Change.objects.look("", 1)
    Change.objects.filter(pk=change.pk).update(due_at=DatabaseNow() + timedelta(seconds=60))
    Change.objects.remove([change], "")
    assert not Change.objects.held([change], "").exists()
    assert Change.objects.filter(pk=change.pk).exists()
