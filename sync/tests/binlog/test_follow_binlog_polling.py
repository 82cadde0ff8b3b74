"""The follower rescans tables whose rows changed without being logged row by row, after the change is visible."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pymongo.database import Database
from pymysqlreplication import event, row_event

from finance.models import Account
from sync.binlog.log import WITHOUT_ROWS, _known_events
from sync.outbox.models import Change
from sync.tests.support import follow
from sync.tests.support.compare import differences
from sync.tests.support.follow import add_accounts, catch_up, following, saved, sql
from sync.tests.support.processes import relaying
from tests.servers import MariaDB

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    connection.close()
    yield
    follow.revoke()


def _limits(mongo: Database) -> list[int]:
    return sorted(document["limit"] for document in mongo.accounts.find())


def _ranges(label: str = "finance.account") -> int:
    return Change.objects.filter(model=label).exclude(until="").count()


def test_each_event_that_the_library_parses_is_handled_or_listed_as_without_rows() -> None:
    """If a newer library parses more events: decide whether they carry rows, and add them to one of the two lists."""
    assert _known_events() - WITHOUT_ROWS == {
        event.BinLogEvent, event.ExecuteLoadQueryEvent, event.FormatDescriptionEvent, event.GtidEvent,
        event.HeartbeatLogEvent, event.MariadbGtidEvent, event.NotImplementedEvent, event.QueryEvent, event.RotateEvent,
        event.XAPrepareEvent, event.XidEvent, row_event.DeleteRowsEvent, row_event.PartialUpdateRowsEvent,
        row_event.RowsEvent, row_event.UpdateRowsEvent, row_event.WriteRowsEvent,
    }  # fmt: skip


def test_load_data_that_is_logged_as_a_statement(mariadb: MariaDB, mongo: Database, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.write_text("4711,loaded\n")
    tmp_path.chmod(0o755)
    with following(and_relaying=True) as process:
        database = connection.settings_dict["NAME"]
        mariadb.sql(
            f"USE {database}; SET SESSION binlog_format = STATEMENT; "
            f"LOAD DATA INFILE '{rows}' INTO TABLE zoo_tag FIELDS TERMINATED BY ',' (id, name)"
        )
        process.until(lambda: mongo.zoo_tags.count_documents({"_id": 4711, "name": "loaded"}) == 1)


def test_a_statement_in_an_xa_transaction_takes_effect_at_its_commit(mariadb: MariaDB, mongo: Database) -> None:
    add_accounts(2)
    mariadb.sql("GRANT BINLOG ADMIN ON *.* TO portal@'%'")
    try:
        with following(and_relaying=True) as process:
            process.until(lambda: _limits(mongo) == [0, 0])
            connection.close()
            sql("SET SESSION binlog_format = STATEMENT, tx_isolation = 'REPEATABLE-READ'")
            for statement in (
                "XA START 'y'", "UPDATE finance_account SET `limit` = 5", "XA END 'y'", "XA PREPARE 'y'",
            ):  # fmt: skip
                sql(statement)
            connection.close()
            catch_up(process)
            process.until(lambda: not _ranges())
            sql("XA COMMIT 'y'")
            process.until(lambda: _limits(mongo) == [5, 5])
    finally:
        mariadb.sql("REVOKE BINLOG ADMIN ON *.* FROM portal@'%'")


@pytest.mark.engine
def test_an_xa_transaction_prepared_before_the_first_start(mongo: Database) -> None:
    for statement in (
        "XA START 'z'",
        "INSERT INTO zoo_tag (id, name) VALUES (4712, 'xa')",
        "XA END 'z'",
        "XA PREPARE 'z'",
    ):
        sql(statement)
    connection.close()
    with following(and_relaying=True) as process:
        sql("XA COMMIT 'z'")
        process.until(lambda: mongo.zoo_tags.count_documents({"_id": 4712}) == 1)


@pytest.mark.engine
def test_changes_that_are_truncated_before_their_delivery_are_backfilled(mongo: Database) -> None:
    with following(recording=True) as process:
        add_accounts(3)
        catch_up(process)
        sql("TRUNCATE TABLE sync_change")
        process.until(lambda: _ranges() == 1)
    follow.pause_targets(paused=False)
    with following(and_relaying=True) as process:
        process.until(lambda: differences(Account, mongo) == [] and _limits(mongo) == [0, 0, 0])


@pytest.mark.engine
def test_a_missing_table_is_rescanned_when_it_exists_again(mongo: Database) -> None:
    with following(and_relaying=True) as process:
        sql("INSERT INTO zoo_tag (id, name) VALUES (1, 'one')")
        process.until(lambda: mongo.zoo_tags.count_documents({}) == 1)
        try:
            sql("RENAME TABLE zoo_tag TO zt_moved")
            process.until(lambda: "as soon as their tables exist: zoo.tag" in process.output)
            assert mongo.zoo_tags.count_documents({}) == 1, "a missing table does not make its documents orphans"
            sql("UPDATE zt_moved SET name = 'two'")
        finally:
            sql("/* back */ RENAME TABLE zt_moved TO zoo_tag")
        process.until(lambda: mongo.zoo_tags.count_documents({"name": "two"}) == 1)
        process.until(lambda: not saved().unplanned)


@pytest.mark.engine
def test_a_table_that_is_rewritten_repeatedly_is_rescanned_once_at_a_time(mongo: Database) -> None:
    add_accounts(3)
    with following(and_relaying=True) as process:
        process.until(lambda: _limits(mongo) == [0, 0, 0])
    with following() as process:
        for number in range(5):
            sql(f"ALTER TABLE finance_account MODIFY `limit` int NOT NULL COMMENT '{number}'")
            catch_up(process)
        planned = set(Change.objects.exclude(until="").values_list("id", flat=True))
        sql("ALTER TABLE finance_account MODIFY `limit` int NOT NULL")
        process.until(lambda: saved().unplanned == {"finance.account": True})
        assert set(Change.objects.exclude(until="").values_list("id", flat=True)) == planned
        with relaying():
            process.until(lambda: not saved().unplanned and not _ranges())
        assert differences(Account, mongo) == []


def test_a_server_that_stores_all_names_in_lower_case(mariadb: MariaDB, mongo: Database, tmp_path: Path) -> None:
    name, port = str(connection.settings_dict["NAME"]), connection.settings_dict["PORT"]
    server = LowerCase(tmp_path / "lower")
    server.start()
    try:
        server.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
        server.restore(name, mariadb)
        connection.close()
        connection.settings_dict.update(PORT=server.port, NAME=name.title())
        with following(and_relaying=True) as process:
            add_accounts(2)
            process.until(lambda: _limits(mongo) == [0, 0])
            sql("SET FOREIGN_KEY_CHECKS = 0")
            sql("TRUNCATE Finance_Account")
            process.until(lambda: _limits(mongo) == [])
    finally:
        connection.close()
        connection.settings_dict.update(PORT=port, NAME=name)
        server.stop()


class LowerCase(MariaDB):
    def _options(self) -> list[str]:
        return [*super()._options(), "--lower-case-table-names=1"]
