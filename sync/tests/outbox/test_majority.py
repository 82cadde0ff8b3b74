"""Readers with the read concern "majority" see inline writes soon, though no request waits for the majority."""

import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from finance.models import Account
from sync.outbox import majority, mongo_writer
from sync.outbox.majority import Majority
from sync.tests.support.waiting import wait_for
from tests.servers import SERVERS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

FLUSH = 500  # ms between two flushes of the journal if nobody waits for one: the longest that MongoDB allows


@pytest.fixture
def slow_journal(mongo: Database, settings: Any) -> Iterator[None]:
    settings.SYNC_INLINE_TIMEOUT = 10
    with MongoClient(SERVERS.mongo.uri("admin")) as client:
        before = client.admin.command({"getParameter": 1, "journalCommitInterval": 1})["journalCommitInterval"]
        client.admin.command({"setParameter": 1, "journalCommitInterval": FLUSH})
        yield
        client.admin.command({"setParameter": 1, "journalCommitInterval": before or 100})


def delays(mongo: Database) -> list[float]:
    """Seconds from a save until a majority reader sees it."""
    agreed = mongo.accounts.with_options(read_concern=ReadConcern("majority"))
    account = Account.objects.create(account_id=1, limit=0)
    found = []
    for limit in range(1, 8):
        account.limit = limit
        account.save()
        began = time.monotonic()
        wait_for(partial(agreed.find_one, {"limit": limit}))
        found.append(time.monotonic() - began)
        time.sleep(0.05 * (limit % 3))
    return found


def test_a_majority_reader_need_not_wait_for_the_next_flush(
    slow_journal: None, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = statistics.median(delays(mongo))
    monkeypatch.setattr(mongo_writer.MAJORITY, "wait_for", lambda target: None)
    Account.objects.all().delete()
    late = statistics.median(delays(mongo))
    assert soon < late / 3, (soon, late)


def test_saves_do_not_wait_for_it_and_share_it(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[Any] = []

    def wait(self: Majority, target: Any) -> None:
        waits.append(target)
        time.sleep(0.3)

    monkeypatch.setattr(Majority, "_wait", wait)
    began = time.monotonic()
    for number in range(5):
        Account.objects.create(account_id=number, limit=0)
    assert time.monotonic() - began < 5 * 0.3
    wait_for(lambda: bool(waits))
    assert len(waits) < 5


def test_an_outage_after_the_write_troubles_nobody(mongo: Database, mongod: Any) -> None:
    made = Majority()
    mongod.kill()
    made.wait_for(mongo_writer.Target(Account))
    wait_for(lambda: not made.awaited)
    mongod.start()
    made.wait_for(mongo_writer.Target(Account))
    wait_for(lambda: not made.awaited)
    assert made.thread is not None
    assert made.thread.is_alive()
    assert majority.NEVER["_sync.v"] == -1
