"""Saving continues while MongoDB is down, and everything is delivered afterwards."""

import io
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError, connections, transaction
from django.test import Client
from pymongo.database import Database

from finance.models import Account
from sync.mongodb.breaker import BREAKER
from sync.monitoring.status import status
from sync.outbox import delivery
from sync.outbox.models import Change, ChangeQuerySet
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences, rows
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.support.processes import relaying
from sync.tests.support.waiting import wait_for
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "10"))
MARGIN = 5.0  # seconds that a busy machine may take beyond the bound


def test_saves_succeed_in_bounded_time_and_the_relay_delivers_them_later(
    mongo: Database, mongod: Mongo, settings: Any
) -> None:
    settings.SYNC_INLINE_TIMEOUT = 0.3
    kept = Account.objects.create(account_id=1, limit=1)
    gone = Account.objects.create(account_id=2, limit=2)
    mongod.kill()
    slowest = 0.0
    for number in range(30):
        start = time.monotonic()
        Account.objects.create(account_id=100 + number, limit=number)
        Account.objects.filter(pk=kept.pk).update(limit=number)
        slowest = max(slowest, time.monotonic() - start)
    gone.delete()
    assert slowest < 0.3 + MARGIN, f"{slowest:.2f} s"
    assert BREAKER.state == "open"
    pending = Change.objects.count()
    assert pending >= 32
    mongod.start()
    confirm()
    assert differences(Account, mongo) == []
    out = io.StringIO()
    call_command("sync", "verify", "--json", stdout=out)
    assert not any(result["mismatches"] for result in json.loads(out.getvalue()))
    assert not Change.objects.filter(settling=False).exists()


def test_the_breaker_saves_requests_the_wait_and_closes_on_its_own(
    mongo: Database, mongod: Mongo, settings: Any
) -> None:
    settings.SYNC_INLINE_TIMEOUT = 0.3
    settings.SYNC_BREAKER_RESET = 60
    mongod.freeze()
    start = time.monotonic()
    Account.objects.create(account_id=1, limit=1)
    assert time.monotonic() - start > 0.25
    start = time.monotonic()
    for number in range(100):
        Account.objects.create(account_id=number, limit=1)
    assert time.monotonic() - start < 100 * 0.3 / 2  # without the breaker, each would wait 0.3 s
    mongod.thaw()
    BREAKER.next_try = time.monotonic()
    Account.objects.create(account_id=3, limit=3)
    assert BREAKER.state == "closed"
    assert mongo.accounts.count_documents({"limit": 3}) == 1


def test_a_frozen_mongod_does_not_hold_a_lock_in_the_database(mongo: Database, mongod: Mongo, settings: Any) -> None:
    account = Account.objects.create(account_id=1, limit=1)
    settings.SYNC_INLINE_TIMEOUT = 0.5
    mongod.freeze()
    with transaction.atomic():
        account.limit = 2
        account.save()
    mongod.thaw()
    Relay().drain()
    time.sleep(0.1)
    assert differences(Account, mongo) == []


def test_losing_the_database_right_after_the_commit_fails_no_save(
    mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> None:
        raise OperationalError(2013, "Lost connection to server during query")

    monkeypatch.setattr(ChangeQuerySet, "held", lost)
    monkeypatch.setattr(delivery, "_deliver_unconfirmed", lost)
    with transaction.atomic():
        make(1).save()
        with transaction.atomic():
            make(2).save()
    make(3).save()
    monkeypatch.undo()
    confirm()
    assert len(rows(Account)) == 3
    assert differences(Account, mongo) == []


class Load:
    """Threads that repeat an action. Records how often each ran, and the longest time that it took."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.threads: list[threading.Thread] = []
        self.counts: dict[str, int] = {}
        self.slowest: dict[str, float] = {}
        self.errors: list[str] = []

    def start(self, name: str, act: Callable[[int], None], pause: float) -> None:
        self.counts[name], self.slowest[name] = 0, 0.0
        self.threads.append(threading.Thread(target=self._repeat, args=[name, act, pause]))
        self.threads[-1].start()

    def _repeat(self, name: str, act: Callable[[int], None], pause: float) -> None:
        try:
            while not self.stop.wait(pause):
                start = time.monotonic()
                act(self.counts[name])
                self.slowest[name] = max(self.slowest[name], time.monotonic() - start)
                self.counts[name] += 1
        except Exception as error:
            self.errors.append(f"{name}: {error!r}")
        finally:
            connections.close_all()

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.slow
def test_a_long_outage_under_load(
    mongo: Database, mongod: Mongo, settings: Any, live_server: Any, client: Client
) -> None:
    """Threads save, delete and request a page during the outage, and status reports it.

    OUTAGE_SECONDS=300 makes it last five minutes.
    """
    settings.SYNC_INLINE_TIMEOUT, settings.SYNC_BREAKER_RESET = 0.5, 5  # as in production
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.org", "a long password"))
    cookies = "; ".join(f"{name}={cookie.value}" for name, cookie in client.cookies.items())
    kept = [make(number) for number in range(50)]
    Account.objects.bulk_create(kept)
    Relay().drain()

    def create_and_delete(turn: int) -> None:
        account = Account.objects.create(account_id=1000 + turn, limit=turn)
        if turn % 3 == 0:
            account.delete()

    def update(turn: int) -> None:
        with transaction.atomic():
            Account.objects.filter(pk=kept[turn % 50].pk).update(limit=turn)
            Account.objects.update_or_create(pk=kept[(turn + 7) % 50].pk, defaults={"limit": turn})

    def page(turn: int) -> None:
        request = urllib.request.Request(f"{live_server.url}/finance/accounts/", headers={"Cookie": cookies})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
            assert b"finance/accounts/" in answer.read()

    load, statuses = Load(), []
    with relaying(batch=500):
        wait_for(lambda: status().relays == 1, seconds=60)
        mongod.kill()
        load.start("create", create_and_delete, 0.02)
        load.start("update", update, 0.02)
        load.start("page", page, 0.1)
        end = time.monotonic() + OUTAGE_SECONDS
        try:
            while time.monotonic() < end:
                statuses.append(status())
                time.sleep(0.5)
        finally:
            load.end()
        backlog = Change.objects.filter(settling=False).count()
        keys = Change.objects.values("key").distinct().count()
        assert not Change.objects.filter(failed=True).exists()
        assert not Change.objects.exclude(attempts=0).exists()
        mongod.start()
        start = time.monotonic()
        wait_for(lambda: Change.objects.filter(settling=False).count() < backlog, seconds=120)
        noticed = time.monotonic()
        wait_for(lambda: not Change.objects.filter(settling=False).exists(), seconds=300)
        drained = time.monotonic() - noticed
        status_after = status()
    counts, slowest = load.counts, load.slowest
    slowest_save = max(slowest["create"], slowest["update"])
    print(f"""
{OUTAGE_SECONDS:.0f} s without MongoDB; status was queried {len(statuses)} times
{counts["create"]:,} creates, {counts["update"]:,} updates of two rows; the slowest took {slowest_save:.2f} s
{counts["page"]:,} pages; the slowest took {slowest["page"]:.2f} s
{backlog:,} changes of {keys:,} keys: delivery began {noticed - start:.1f} s after the restart and took {drained:.1f} s
""")
    assert load.errors == []
    assert min(load.counts.values()) > 0
    assert slowest_save < 2 * settings.SYNC_INLINE_TIMEOUT + MARGIN
    assert {one.word for one in statuses} == {"unreachable"}
    assert all(not one.mongodb_up and one.mongodb_error for one in statuses)
    assert statuses[-1].on_their_way > statuses[0].on_their_way  # a relay may hold some of the pending changes
    assert statuses[-1].pending <= backlog
    assert status_after.word in ("in_sync", "lagging")
    assert status_after.mongodb_up
    for _ in range(3):
        confirm()
    assert differences(Account, mongo) == []
    assert not Change.objects.exists()
