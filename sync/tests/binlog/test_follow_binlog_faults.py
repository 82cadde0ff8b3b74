"""The follower survives kill -9, restarts, purged logs and large transactions, and rejects settings that lose events.

FOLLOW_ROWS is the number of changes under kill -9 (5,000 by default; 100,000 for a thorough run).
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pymysql
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from pymongo.database import Database

from finance.models import Account
from sync.binlog.follower import Follower, _Session
from sync.binlog.log import Gap
from sync.binlog.position import MySQLGtids
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support import follow
from sync.tests.support.compare import differences
from sync.tests.support.follow import add_accounts, catch_up, following, recorded, saved, sql
from sync.tests.support.processes import Process
from sync.tests.support.waiting import wait_for
from sync.workers.models import Worker
from tests.servers import SERVERS, MariaDB

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ROWS = int(os.environ.get("FOLLOW_ROWS", "5000"))
KILLS = 10


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    yield
    follow.revoke()


@pytest.mark.slow
def test_each_change_is_recorded_once_under_kill_9(mongo: Database) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    with following(recording=True):
        pass
    written, kills = 0, 0
    with follow.follower() as process:
        while written < ROWS or kills < KILLS:
            if written < ROWS:
                count = min(chance.choice([1, 3, 50, 700, 4000]), ROWS - written)
                add_accounts(count, first=written + 1)
                written += count
            if chance.random() < KILLS * 800 / ROWS or written == ROWS:
                time.sleep(0.5 + chance.random())  # the follower needs about 0.5 s to start
                process.kill()
                kills += 1
                process.start()
        catch_up(process)
        assert set(recorded().values()) == {1}, "each once"
        assert len(recorded()) == ROWS
    print(kills, "kills")
    follow.pause_targets(paused=False)
    while Change.objects.filter(settling=False).exists():
        with suppress(Unavailable):  # a busy machine; the next round continues
            Relay().drain()
    assert differences(Account, mongo) == []


@pytest.mark.slow
def test_a_part_of_a_large_transaction_is_not_recorded_again(mongo: Database) -> None:
    with following(recording=True):
        pass
    sql("INSERT INTO finance_account (_id, account_id, `limit`, products, extra) "
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) "
        "SELECT LPAD(HEX(a.i * 1000 + b.i), 24, '0'), a.i, b.i, '[]', '{}' FROM n a, n b WHERE a.i <= 20"
    )  # fmt: skip
    kills = 0
    with follow.follower() as process:
        while kills < 3:
            _wait_for_a_part(process)
            process.kill()
            kills += 1
            process.start()
        catch_up(process)
        assert len(recorded()) == 18_000
        assert set(recorded().values()) == {1}


def _wait_for_a_part(process: Process) -> None:
    before = Change.objects.count()
    process.until(lambda: saved().part and Change.objects.count() > before, seconds=60)


def test_a_large_transaction_needs_no_more_memory(mongo: Database) -> None:
    """FOLLOW_LARGE is the number of rows (50,000 by default; a million for a thorough run)."""
    if SERVERS.mariadb is None and "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("a shared server's log also has the 16 MB rows of other tests")
    count = int(os.environ.get("FOLLOW_LARGE", "50000"))
    with following() as process:
        add_accounts(100)
        catch_up(process)
        before = _memory(process, "VmRSS")
        blocks = count // 1000
        sql("INSERT INTO finance_account (_id, account_id, `limit`, products, extra) "
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
            f"SELECT LPAD(HEX(a.i * 10000 + b.i), 24, '0'), a.i, b.i, '[]', '{{}}' FROM n a, n b WHERE a.i <= {blocks}"
        )  # fmt: skip
        catch_up(process, 120 + count / 1000)
        assert mongo.accounts.count_documents({}) == count + 100
        grown = _memory(process, "VmHWM") - before
        print(f"{count} rows: {before} kB before, {grown} kB more")
        assert grown < 40_000


def _memory(process: Process, what: str) -> int:
    """Returns this line of the process's status, in kB."""
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what))


def test_the_follower_continues_after_a_restart_of_the_server(mariadb: MariaDB, mongo: Database) -> None:
    with following(and_relaying=True) as process:
        add_accounts(3)
        catch_up(process)
        connection.close()
        mariadb.kill()
        mariadb.start()
        add_accounts(3, first=4)
        process.until(lambda: mongo.accounts.count_documents({}) == 6, seconds=60)
        connection.close()


def test_the_follower_continues_in_the_next_log_file(mariadb: MariaDB) -> None:
    with following(recording=True) as process:
        for number in range(1, 4):
            add_accounts(1, first=number)
            mariadb.sql("FLUSH BINARY LOGS")
        catch_up(process)
    assert set(recorded().values()) == {1}
    assert len(recorded()) == 3


def test_a_purged_position_is_bridged_by_a_backfill(mariadb: MariaDB, mongo: Database) -> None:
    add_accounts(5)
    with following(and_relaying=True) as process:
        process.until(lambda: mongo.accounts.count_documents({}) == 5)
    sql("UPDATE finance_account SET `limit` = 9")
    sql("DELETE FROM finance_account WHERE account_id = 1")
    mariadb.sql("FLUSH BINARY LOGS")
    # The server does not purge a log while it still sends it to the follower that was stopped.
    wait_for(lambda: _purge(mariadb) == 1)
    with following(and_relaying=True) as process:
        process.until(lambda: mongo.accounts.count_documents({"limit": 9}) == 4)
        process.until(lambda: differences(Account, mongo) == [])
        assert "Cannot continue to read the binary log" in process.output
        add_accounts(1, first=100)
        process.until(lambda: mongo.accounts.count_documents({}) == 5)


def _purge(mariadb: MariaDB) -> int:
    """Purges all logs but the last. Returns how many are left."""
    last = mariadb.sql("SHOW BINARY LOGS").split("\n")[-2].split("\t")[0]
    mariadb.sql(f"PURGE BINARY LOGS TO '{last}'")
    return len(mariadb.sql("SHOW BINARY LOGS").splitlines())


def test_a_second_follower_is_refused() -> None:
    with following():
        assert _refusal().startswith("The binary log is held by another process: process ")


def _refusal() -> str:
    """Returns the error of a follower that does not start."""
    connection.close()
    with pytest.raises(CommandError) as refused:
        call_command("sync", "follow-binlog")
    assert refused.value.returncode == 2
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_row_metadata", "MINIMAL", "FULL"),
    ],
)
def test_settings_that_lose_events_are_refused(mariadb: MariaDB, setting: str, bad: str, good: str) -> None:
    mariadb.sql(f"SET GLOBAL {setting} = {bad}")
    try:
        error = _refusal()
    finally:
        mariadb.sql(f"SET GLOBAL {setting} = {good}")
    assert f"{setting}={bad}" in error
    assert f"SET GLOBAL {setting} = {good};" in error


@pytest.mark.parametrize("privilege", ["REPLICATION SLAVE", "BINLOG MONITOR"])
def test_the_error_for_a_missing_privilege_has_the_grant_statement(mariadb: MariaDB, privilege: str) -> None:
    mariadb.sql(f"REVOKE {privilege} ON *.* FROM portal@'%'")
    assert "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'portal'@'%';" in _refusal()


def test_the_heartbeat_has_the_followers_state() -> None:
    with following() as process:
        add_accounts(1)
        catch_up(process)
        process.until(lambda: Worker.objects.get(kind="follower").note.endswith("up to date, 2 rows"))


def test_the_follower_exits_at_the_first_signal() -> None:
    with following() as process:
        add_accounts(1)
        assert process.terminate(10) == 0
        assert not Worker.objects.filter(kind="follower").exists()


def test_mysql_gtids_are_merged_into_intervals() -> None:
    one = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    gtids = MySQLGtids(f"{one}:1-5")
    for number in (6, 7, 9, 8, 7):
        gtids.add(f"{one}:{number}")
    assert str(gtids) == f"{one}:1-9"


@pytest.mark.parametrize(
    "second", [Gap("no such file"), pymysql.OperationalError(2003, "refused"), OperationalError(2013, "lost")], ids=repr
)
def test_a_gap_that_cannot_be_bridged_at_once_does_not_stop_the_follower(
    monkeypatch: pytest.MonkeyPatch, second: Exception
) -> None:
    """The server or its log becomes unavailable after the gap is found and before the end of the log is read."""
    follower = Follower()

    def bridge() -> None:
        raise second

    def enter(session: _Session) -> None:
        raise Gap("the log was reset")

    monkeypatch.setattr(_Session, "__enter__", enter)
    monkeypatch.setattr(follower, "_bridge", bridge)
    with pytest.raises(follower.loop.outages):
        follower._follow()
    connection.close()
