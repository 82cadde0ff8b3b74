"""The follower delivers by itself, without relays, under kill -9, outages, pauses and commits that are visible late.

SEED repeats a run under kill -9. Rows are compared with documents that are read directly.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections
from pymongo.database import Database

from finance.models import Account, CustomerWord
from sync.binlog import direct
from sync.binlog.follower import Follower, _Session
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support import follow
from sync.tests.support.compare import differences
from sync.tests.support.follow import add_accounts, following, recorded, sql
from sync.tests.support.waiting import wait_for
from sync.workers.models import Worker
from tests.servers import MariaDB

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

KILLS = 8
VISIBLE_AFTER = 1.5  # seconds for which a commit is in the log and not visible


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    yield
    follow.revoke()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, the follower does not take a slow MongoDB for an unreachable one."""
    for name, seconds in (("SYNC_TIMEOUT", "30"), ("SYNC_LEASE", "40"), ("SYNC_SETTLE", "80")):
        monkeypatch.setenv(name, seconds)


@contextmanager
def follower_here() -> Iterator[Follower]:
    """A follower in a thread of this process, so that a test can replace parts of it."""
    follower = Follower()

    def run() -> None:
        follower.run()
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: bool(follower.place))
        yield follower
    finally:
        follower.stop.set()
        thread.join()


def is_equal(mongo: Database) -> bool:
    return differences(Account, mongo) == []


def test_raw_sql_is_delivered_without_a_relay(mongo: Database, patient: None) -> None:
    with following() as process:
        keys = add_accounts(3)
        process.until(lambda: is_equal(mongo))
        sql("UPDATE finance_account SET `limit` = 7")
        process.until(lambda: is_equal(mongo))
        assert recorded() == {}
        sql("DELETE FROM finance_account WHERE _id = %s", keys[0])
        process.until(lambda: is_equal(mongo))
        settling = Change.objects.filter(model="finance.account")
        process.until(lambda: list(settling.values_list("key", "settling")) == [(keys[0], True)])
        process.until(lambda: Worker.objects.get(kind="follower").delivered >= 7, seconds=30)


@pytest.mark.slow
def test_each_row_is_delivered_under_kill_9(mongo: Database, patient: None) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    with following():
        pass
    numbers, first = 400, 1
    with follow.follower() as process:
        for kill in range(KILLS):
            end = time.monotonic() + 0.6 + chance.random()
            while time.monotonic() < end:
                keys = [f"{chance.randrange(1, numbers):024x}" for _ in range(chance.choice([1, 2, 30]))]
                act = chance.random()
                if act < 0.5:
                    sql("UPDATE finance_account SET `limit` = `limit` + 1 WHERE _id IN %s", keys)
                elif act < 0.75:
                    sql("DELETE FROM finance_account WHERE _id IN %s", keys)
                else:
                    rows = ", ".join(f"('{key}', {int(key, 16)}, 0, '[]', '{{}}')" for key in {*keys})
                    sql(f"INSERT IGNORE INTO finance_account (_id, account_id, `limit`, products, extra) VALUES {rows}")
            if kill == KILLS // 2:
                add_accounts(5000, first=numbers + first)  # a large transaction
            process.kill()
            process.start()
        process.until(lambda: is_equal(mongo), seconds=60)
        follow.catch_up(process)
        assert is_equal(mongo)


def test_a_large_transaction_is_delivered_in_parts(mongo: Database, patient: None) -> None:
    with following() as process:
        add_accounts(5000)
        process.until(lambda: mongo.accounts.count_documents({}) == 5000, seconds=60)
        follow.catch_up(process)
        assert is_equal(mongo)
        assert recorded() == {}


@pytest.fixture
def refuses_13(mongo: Database) -> Iterator[None]:
    """MongoDB refuses accounts with a limit of 13."""
    mongo.accounts.insert_one({})
    mongo.accounts.delete_many({})
    mongo.command("collMod", "accounts", validator={"limit": {"$ne": 13}})
    yield
    mongo.command("collMod", "accounts", validator={})


def test_what_a_relay_has_to_deliver_is_recorded(mongo: Database, refuses_13: None) -> None:
    """A refused row and a paused target."""
    with following() as process:
        keys = add_accounts(3)
        process.until(lambda: is_equal(mongo))
        sql("UPDATE finance_account SET `limit` = 13 WHERE _id = %s", keys[1])
        refused = Change.objects.filter(model="finance.account", error__startswith="MongoDB: Document failed")
        process.until(lambda: list(refused.values_list("key", "attempts", "failed")) == [(keys[1], 1, False)])
        assert mongo.accounts.count_documents({}) == 3
        follow.pause_targets()
        time.sleep(1.2)  # the follower looks for pauses once in a second
        sql("UPDATE finance_account SET `limit` = 5 WHERE _id = %s", keys[2])
        process.until(lambda: recorded().get(keys[2]) == 1)
        assert mongo.accounts.count_documents({"limit": 5}) == 0


def test_a_row_that_is_delivered_at_last_leaves_no_dead_letter(mongo: Database, refuses_13: None) -> None:
    with following() as process:
        [key] = add_accounts(1)
        sql("UPDATE finance_account SET `limit` = 13")
        process.until(lambda: Change.objects.filter(key=key).exists())
        Change.objects.filter(key=key).update(failed=True)
        sql("UPDATE finance_account SET `limit` = 14")
        process.until(lambda: is_equal(mongo))
        process.until(lambda: not Change.objects.filter(key=key, failed=True).exists())


def test_during_an_outage_the_position_advances_and_changes_are_recorded(mongo: Database, mongod: Any) -> None:
    with following() as process:
        add_accounts(2)
        process.until(lambda: is_equal(mongo))
        mongod.kill()
        keys = add_accounts(2, first=10)
        process.until(lambda: recorded() == dict.fromkeys(keys, 1), seconds=60)
        before = follow.saved()
        more = add_accounts(1, first=20)
        process.until(lambda: recorded() == dict.fromkeys([*keys, *more], 1), seconds=60)
        process.until(lambda: follow.saved() != before)
        assert "Changes are recorded for the relay until it is back" in process.output
        mongod.start()
        process.until(lambda: Relay().drain() is not None, seconds=60)
        last = add_accounts(1, first=30)
        process.until(lambda: mongo.accounts.count_documents({"account_id": 30}) == 1, seconds=60)
        process.until(lambda: Relay().drain() is not None and is_equal(mongo), seconds=60)
        assert last


def late_commit(statement: str) -> threading.Thread:
    """Commits in another thread."""

    def run() -> None:
        sql(statement)
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.fixture
def visible_late(mariadb: MariaDB) -> Iterator[Callable[[], None]]:
    """Lets the next commit be visible VISIBLE_AFTER seconds after it is in the log.

    The server waits for a semi-synchronous replica that does not exist, and then gives up.
    """
    off = "SET GLOBAL rpl_semi_sync_master_enabled = OFF"

    def arm() -> None:
        mariadb.sql(
            f"{off}; SET GLOBAL rpl_semi_sync_master_wait_point = 'AFTER_SYNC'; "
            "SET GLOBAL rpl_semi_sync_master_wait_no_slave = ON; "
            f"SET GLOBAL rpl_semi_sync_master_timeout = {VISIBLE_AFTER * 1000:.0f}; "
            "SET GLOBAL rpl_semi_sync_master_enabled = ON"
        )

    yield arm
    mariadb.sql(off)


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_row_is_read_only_when_its_commit_is_visible(
    mongo: Database, visible_late: Callable[[], None], monkeypatch: pytest.MonkeyPatch, *, is_guarded: bool
) -> None:
    """Without a commit of its own, the follower delivers the state before the transaction, and nothing corrects it."""
    if not is_guarded:
        monkeypatch.setattr(_Session, "_make_visible", lambda session: None)
    with follower_here() as follower:
        add_accounts(1)
        wait_for(lambda: follower.handled == 1)
        assert is_equal(mongo)
        time.sleep(0.5)  # until the follower has saved its position, whose commit must not be the late one
        visible_late()
        began = time.monotonic()
        thread = late_commit("UPDATE finance_account SET `limit` = 7")
        wait_for(lambda: follower.handled == 2)
        took = time.monotonic() - began
        thread.join()
        assert sql("SELECT `limit` FROM finance_account") == [(7,)]
        assert is_equal(mongo) is is_guarded
        assert (took > VISIBLE_AFTER * 0.8) is is_guarded
    connection.close()


def test_a_conflict_is_tried_again(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another deliverer writes the document between the follower's reads and its write."""
    deliver, spoiled = direct.mongo_writer.read_versions, []

    def read_and_spoil(target: Any, ids: list[Any]) -> Any:
        seen = deliver(target, ids)
        if target.collection == "accounts" and len(spoiled) < direct.ROUNDS - 1 and seen:
            spoiled.append(mongo.accounts.update_many({}, {"$inc": {"_sync.v": 1}}).modified_count)
        return seen

    with follower_here():
        add_accounts(2)
        wait_for(lambda: is_equal(mongo))
        monkeypatch.setattr(direct.mongo_writer, "read_versions", read_and_spoil)
        sql("UPDATE finance_account SET `limit` = 7")
        wait_for(lambda: is_equal(mongo))
        assert spoiled == [2, 2]
        assert recorded() == {}
    connection.close()


def test_watchers_of_rows_hear_of_them_with_the_position(mongo: Database) -> None:
    with following() as process:
        key = "c" * 24
        sql(
            "INSERT INTO finance_customer (_id, username, name, email, birthdate, accounts, tier_and_details, extra) "
            "VALUES (%s, 'jh', 'James Hammond', 'j@example.com', '1980-01-01', '[]', '{}', '{}')",
            key,
        )
        process.until(lambda: CustomerWord.objects.filter(customer_id=key, word="hammond").exists())
        process.until(lambda: mongo.customers.count_documents({"name": "James Hammond"}) == 1)
