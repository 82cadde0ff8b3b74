"""A log that is not the one that was read: reset, restored, another server's. All is compared then."""

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

GAP = "cannot be read on from here"


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    connection.close()
    yield
    follow.revoke()


def _change_unseen(mariadb: MariaDB) -> None:
    """Changes that are in no log any more: a row is changed, one goes and one comes."""
    sql("UPDATE finance_account SET `limit` = 9 WHERE account_id = 2")
    sql("DELETE FROM finance_account WHERE account_id = 1")
    add_accounts(1, first=50)
    mariadb.sql("RESET MASTER")


def _is_equal(mongo: Database) -> bool:
    return differences(Account, mongo) == []


def _follow_once(mongo: Database) -> None:
    """A follower that has read some of the log, and is killed."""
    add_accounts(5)
    with following(and_relaying=True) as process:
        catch_up(process)
        process.until(lambda: mongo.accounts.count_documents({}) == 5)


def test_a_reset_that_the_new_log_has_overtaken_while_it_is_stopped(mariadb: MariaDB, mongo: Database) -> None:
    """Its file, offset and GTID exist again, and are those of other transactions."""
    mariadb.sql("RESET MASTER")  # so that there is little to overtake
    time.sleep(1.1)  # files are told apart by the second when they were begun
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
        assert "the log was reset" in process.said


def test_a_reset_under_a_live_follower(mariadb: MariaDB, mongo: Database) -> None:
    """MariaDB continues to tell it that there is nothing new in the file that it has removed."""
    add_accounts(5)
    with following(and_relaying=True) as process:
        process.until(lambda: mongo.accounts.count_documents({}) == 5)
        catch_up(process)
        mariadb.sql("RESET MASTER")
        sql("UPDATE finance_account SET `limit` = 9 WHERE account_id = 2")
        sql("DELETE FROM finance_account WHERE account_id = 1")
        process.until(lambda: _is_equal(mongo))
        assert GAP in process.said
        process.until(lambda: not Sweep.objects.exists())
        sql("UPDATE finance_account SET `limit` = 10 WHERE account_id = 2")
        process.until(lambda: mongo.accounts.count_documents({"limit": 10}) == 1)


def test_a_reset_just_before_it_is_killed(mariadb: MariaDB, mongo: Database) -> None:
    _follow_once(mongo)
    with follow.follower() as process:
        process.until(lambda: saved().unplanned == {})
        time.sleep(1)
        _change_unseen(mariadb)
    with following(and_relaying=True) as process:
        process.until(lambda: _is_equal(mongo))


def test_a_lost_position(mongo: Database) -> None:
    """A dump without our tables was loaded, say: also the documents of rows that went meanwhile are found."""
    _follow_once(mongo)
    Checkpoint.objects.all().delete()
    sql("DELETE FROM finance_account WHERE account_id = 1")
    with following(and_relaying=True) as process:
        process.until(lambda: _is_equal(mongo))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"offset": 2**31}, "ends before what was read of it"),
        ({"file": "binlog.999999"}, "Could not find"),
        ({"gtids": "0-1-999999999"}, "has not seen all transactions"),
        ({"gtids": "7-1-1"}, "has not seen all transactions"),
        ({"server": "1/1"}, "the log was reset"),
        ({"server": "77/1", "gtids": "0-77-999999999"}, "has not seen all transactions"),
    ],
)
def test_a_position_that_is_not_in_the_log_is_recognised(mariadb: MariaDB, wrong: dict[str, Any], said: str) -> None:
    with _Session(Follower()):
        pass
    spoil(**wrong)
    with pytest.raises(Gap, match=said), _Session(Follower()):
        pass
    connection.close()


def test_a_position_of_before_files_were_told_apart(mariadb: MariaDB, mongo: Database) -> None:
    _follow_once(mongo)
    spoil(server="1")
    add_accounts(1, first=100)
    with following(and_relaying=True) as process:
        catch_up(process)
        assert GAP not in process.said
        assert "/" in saved().server


def test_a_server_restored_from_a_dump(mariadb: MariaDB, mongo: Database, tmp_path: Path) -> None:
    """It has the same server_id, the same names of files, and none of our transactions."""
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
            assert GAP in process.said
    finally:
        connection.close()
        connection.settings_dict["PORT"] = port
        server.stop()
