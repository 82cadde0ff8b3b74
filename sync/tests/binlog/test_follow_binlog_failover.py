"""The server dies, and the follower continues with its replica."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pymongo.database import Database

from finance.models import Account
from sync.tests.support import follow
from sync.tests.support.compare import differences
from sync.tests.support.follow import add_accounts, catch_up, following, recorded, saved, sql
from sync.tests.support.waiting import wait_for
from tests.servers import MariaDB

pytestmark = pytest.mark.django_db(transaction=True)


class Replica(MariaDB):
    def _options(self) -> list[str]:
        return [*super()._options(), "--server-id=2", "--log-slave-updates"]

    def follow(self, primary: MariaDB, database: str) -> None:
        """Becomes a replica of `primary`, which must have no writes meanwhile."""
        self.restore(database, primary)
        seen = primary.sql("SELECT @@gtid_binlog_pos").strip()
        self.sql(
            f"RESET MASTER; SET GLOBAL gtid_slave_pos = '{seen}'; CHANGE MASTER TO master_host = '127.0.0.1', "
            f"master_port = {primary.port}, master_user = '{self.USER}', master_password = '{self.PASSWORD}', "
            "master_use_gtid = slave_pos; START SLAVE"
        )


@pytest.fixture
def replica(mariadb: MariaDB, tmp_path: Path) -> Iterator[Replica]:
    server = Replica(tmp_path / "replica")
    server.start()
    yield server
    server.stop()


def test_the_follower_continues_with_the_replica(
    mariadb: MariaDB, replica: Replica, mongo: Database, settings: Any
) -> None:
    settings.SYNC_INLINE = False
    follow.grant()
    name, port = str(connection.settings_dict["NAME"]), connection.settings_dict["PORT"]
    replica.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
    with following(recording=True) as process:
        replica.follow(mariadb, name)
        add_accounts(1)
        catch_up(process)
    add_accounts(500, first=2)  # the follower has not read these when the primary dies
    seen = mariadb.sql("SELECT @@gtid_binlog_pos").strip()
    wait_for(lambda: replica.sql("SELECT @@gtid_slave_pos").strip() == seen)
    replica.sql("STOP SLAVE")
    connection.close()
    try:
        connection.settings_dict["PORT"] = replica.port
        before = saved().gtids
        add_accounts(1, first=1000)
        with following() as process:
            catch_up(process)
            assert len(recorded()) == 502
            assert set(recorded().values()) == {1}
            assert "Cannot continue to read the binary log" not in process.output
            assert "cannot be read" not in process.output
            assert saved().gtids != before
        follow.pause_targets(paused=False)
        with following(and_relaying=True) as process:
            process.until(lambda: differences(Account, mongo) == [])
        sql("SELECT 1")
    finally:
        connection.close()
        connection.settings_dict["PORT"] = port
        follow.revoke()
