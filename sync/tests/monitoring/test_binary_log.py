"""The metrics that show how close the follower's position is to the server's next purge."""

from typing import Any

import pytest
from django.db import connection

from sync.monitoring.binary_log import BinaryLog, binary_log
from sync.tests.support import follow
from sync.tests.support.follow import sql
from sync.tests.support.metrics import samples
from sync.workers.models import Checkpoint

pytestmark = pytest.mark.django_db(transaction=True)


def position(file: str) -> None:
    Checkpoint.objects.update_or_create(name="follow-binlog", defaults={"state": {"file": file, "offset": 4}})


def test_without_a_position_there_is_nothing_to_report() -> None:
    assert binary_log("default") is None
    Checkpoint.objects.create(name="follow-binlog")
    assert binary_log("default") is None
    assert not [name for name in samples() if name[0].startswith("sync_binlog")]


def test_it_counts_the_files_on_both_sides_of_the_position(mariadb: Any) -> None:
    follow.grant()
    connection.close()  # a new one has the privileges
    try:
        for _ in range(2):
            mariadb.sql("FLUSH BINARY LOGS")
        files = [row[0] for row in sql("SHOW BINARY LOGS")]
        assert len(files) >= 3
        position(files[1])
        assert binary_log("default") == BinaryLog(1, len(files) - 2, binary_log("default").kept_for)
        position("purged.000001")
        now = samples()
        assert (now["sync_binlog_files_before",], now["sync_binlog_files_after",]) == (0, len(files))
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@GLOBAL.binlog_expire_logs_seconds")
            assert now.get(("sync_binlog_expire_seconds",), 0) == cursor.fetchone()[0]
    finally:
        follow.revoke()
        connection.close()


def test_a_user_who_may_not_list_the_files_gets_the_other_metrics(mariadb: Any) -> None:
    position("mysql-bin.000001")
    assert binary_log("default") is None
    assert ("sync_mongodb_up",) in samples()
