"""The follower detects a log that was reset, restored or belongs to another server, and rescans every model."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pymongo.database import Database

from finance.models import Account
from sync.binlog.follower import Follower, _Session
from sync.binlog.log import Gap
from sync.binlog.models import Sweep
from sync.binlog.server import Server
from sync.tests.support import follow
from sync.tests.support.compare import differences
from sync.tests.support.follow import add_accounts, catch_up, following, saved, spoil, sql
from sync.workers.models import Checkpoint
from tests.servers import MariaDB

pytestmark = pytest.mark.django_db(transaction=True)

GAP = "Cannot continue to read the binary log"


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    connection.close()
    yield
    follow.revoke()


def _change_unseen(mariadb: MariaDB) -> None:
    """Updates, deletes and inserts rows in such a way that the log does not contain these changes."""
    sql("UPDATE finance_account SET `limit` = 9 WHERE account_id = 2")
    sql("DELETE FROM finance_account WHERE account_id = 1")
    add_accounts(1, first=50)
    mariadb.sql("RESET MASTER")


def _is_equal(mongo: Database) -> bool:
    return differences(Account, mongo) == []


def _follow_once(mongo: Database) -> None:
    """Runs a follower that reads a part of the log and is killed."""
    add_accounts(5)
    with following(and_relaying=True) as process:
        catch_up(process)
        process.until(lambda: mongo.accounts.count_documents({}) == 5)


def test_a_reset_is_detected_even_if_the_new_log_is_longer(mariadb: MariaDB, mongo: Database) -> None:
    """The follower's file, offset and GTID exist again, but belong to other transactions."""
    mariadb.sql("RESET MASTER")  # so that the new log soon passes the saved position
    time.sleep(1.1)  # files are distinguished by their creation time in seconds
    _follow_once(mongo)
    _change_unseen(mariadb)
    position = saved()
    number = int(position.gtids.split("-")[2])
    for key in range(number + 1):
        sql("INSERT INTO zoo_tag (id, name) VALUES (%s, %s)", 1000 + key, "x" * 50)
    sql("INSERT INTO zoo_tag (id, name) VALUES (999, REPEAT('x', 50))")
    if Server("default").end()[1] <= position.offset:
        sql("INSERT INTO zoo_typed (id, text) VALUES (UUID(), REPEAT('x', %s))", position.offset)
    assert Server("default").end() > (position.file, position.offset)
    assert not Server("default").lacks(position.gtids)
    with following(and_relaying=True) as process:
        process.until(lambda: _is_equal(mongo))
        assert "the log was reset" in process.output


def test_a_reset_is_detected_by_a_running_follower(mariadb: MariaDB, mongo: Database) -> None:
    """MariaDB keeps reporting to the follower that the removed file has nothing new."""
    add_accounts(5)
    with following(and_relaying=True) as process:
        process.until(lambda: mongo.accounts.count_documents({}) == 5)
        catch_up(process)
        mariadb.sql("RESET MASTER")
        sql("UPDATE finance_account SET `limit` = 9 WHERE account_id = 2")
        sql("DELETE FROM finance_account WHERE account_id = 1")
        process.until(lambda: _is_equal(mongo))
        assert GAP in process.output
        process.until(lambda: not Sweep.objects.exists())
        sql("UPDATE finance_account SET `limit` = 10 WHERE account_id = 2")
        process.until(lambda: mongo.accounts.count_documents({"limit": 10}) == 1)


def test_a_reset_just_before_the_follower_is_killed_is_detected(mariadb: MariaDB, mongo: Database) -> None:
    _follow_once(mongo)
    with follow.follower() as process:
        process.until(lambda: saved().unplanned == {})
        time.sleep(1)
        _change_unseen(mariadb)
    with following(and_relaying=True) as process:
        process.until(lambda: _is_equal(mongo))


def test_a_lost_position_is_bridged_by_a_rescan(mongo: Database) -> None:
    """The checkpoint was deleted, for example by loading a dump: orphans of rows deleted meanwhile are found."""
    _follow_once(mongo)
    Checkpoint.objects.all().delete()
    sql("DELETE FROM finance_account WHERE account_id = 1")
    with following(and_relaying=True) as process:
        process.until(lambda: _is_equal(mongo))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"offset": 2**31}, "ends before the position that was read"),
        ({"file": "binlog.999999"}, "Could not find"),
        ({"gtids": "0-1-999999999"}, "this server lacks transactions that were read"),
        ({"gtids": "7-1-1"}, "this server lacks transactions that were read"),
        ({"server": "1/1"}, "the log was reset"),
        ({"server": "77/1", "gtids": "0-77-999999999"}, "this server lacks transactions that were read"),
    ],
)
def test_a_position_that_is_not_in_the_log_is_detected(mariadb: MariaDB, wrong: dict[str, Any], message: str) -> None:
    with _Session(Follower()):
        pass
    spoil(**wrong)
    with pytest.raises(Gap, match=message), _Session(Follower()):
        pass
    connection.close()


def test_a_position_saved_without_the_files_creation_time_is_not_a_gap(mariadb: MariaDB, mongo: Database) -> None:
    _follow_once(mongo)
    spoil(server="1")
    add_accounts(1, first=100)
    with following(and_relaying=True) as process:
        catch_up(process)
        process.until(lambda: "/" in saved().server, "the position is saved")
        assert GAP not in process.output


def test_a_server_restored_from_a_dump_is_detected(mariadb: MariaDB, mongo: Database, tmp_path: Path) -> None:
    """The restored server has the same server_id and file names, but lacks the transactions that were read."""
    _follow_once(mongo)
    name, port = str(connection.settings_dict["NAME"]), connection.settings_dict["PORT"]
    server = MariaDB(tmp_path / "restored")
    server.start()
    try:
        server.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
        server.restore(name, mariadb)
        connection.close()
        connection.settings_dict["PORT"] = server.port
        sql("DELETE FROM finance_account WHERE account_id = 1")
        with following(and_relaying=True) as process:
            process.until(lambda: _is_equal(mongo))
            assert GAP in process.output
    finally:
        connection.close()
        connection.settings_dict["PORT"] = port
        server.stop()
