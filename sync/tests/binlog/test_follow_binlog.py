"""Raw SQL, other programs and TRUNCATE reach MongoDB through the binary log."""

import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from django.db import connection, transaction
from pymongo.database import Database

from finance.models import Account
from sync.binlog.models import Sweep
from sync.core.retry import retry_on_deadlock
from sync.outbox.models import Change
from sync.tests.support import follow
from sync.tests.support.compare import differences
from sync.tests.support.follow import add_accounts, catch_up, following, recorded, sql
from sync.tests.support.waiting import wait_for
from tests.servers import SERVERS, MariaDB

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    yield
    follow.revoke()


def test_a_row_written_by_another_program_is_in_mongodb_within_a_second(mongo: Database) -> None:
    with following(and_relaying=True) as process:
        [key] = add_accounts(1)
        process.until(lambda: mongo.accounts.count_documents({"limit": 0}) == 1)
        _by_client(f"UPDATE finance_account SET `limit` = 7 WHERE _id = '{key}'")
        process.until(lambda: mongo.accounts.count_documents({"limit": 7}) == 1, seconds=5)
        assert differences(Account, mongo) == []
        _by_client(f"DELETE FROM finance_account WHERE _id = '{key}'")
        process.until(lambda: mongo.accounts.count_documents({}) == 0, seconds=5)


def _by_client(statement: str) -> None:
    """Runs the statement with MariaDB's own client, if the test server has one."""
    if SERVERS.mariadb is None:
        sql(statement)
        return
    at = connection.settings_dict
    subprocess.run(
        ["mariadb", "--no-defaults", f"-h{at['HOST']}", f"-P{at['PORT']}", f"-u{at['USER']}", f"-p{at['PASSWORD']}",
         str(at["NAME"]), "-e", statement],
        check=True,
    )  # fmt: skip


def test_the_first_start_backfills_existing_rows(mongo: Database) -> None:
    add_accounts(10)
    with following(and_relaying=True) as process:
        process.until(lambda: mongo.accounts.count_documents({}) == 10)
        assert differences(Account, mongo) == []


def test_changes_that_the_transaction_recorded_are_not_recorded_again() -> None:
    with following(recording=True) as process:
        accounts = [Account(account_id=number, limit=0) for number in range(3)]
        Account.objects.bulk_create(accounts)
        Account.objects.update(limit=1)
        accounts[0].delete()
        catch_up(process)
        assert recorded() == {account.pk: 2 for account in accounts[1:]} | {str(_deleted(accounts[0])): 3}


def _deleted(account: Account) -> str:
    """Returns the key of a deleted account, which its change still has and the instance no longer has."""
    return next(key for key, count in recorded().items() if count == 3)


def test_the_follower_records_only_the_rows_that_a_mixed_transaction_did_not() -> None:
    with following(recording=True) as process:
        account = Account.objects.create(account_id=1, limit=0)
        with transaction.atomic():
            account.save()
            keys = add_accounts(2)
        catch_up(process)
        assert recorded() == {account.pk: 2, keys[0]: 1, keys[1]: 1}


def test_a_rolled_back_transaction_records_nothing() -> None:
    with following(recording=True) as process:
        with transaction.atomic():
            add_accounts(5)
            transaction.set_rollback(True)
        catch_up(process)
        assert recorded() == {}


@retry_on_deadlock
def forget_changes() -> None:
    """Deletes all changes. Retries on a deadlock, because the follower writes to the same table."""
    Change.objects.all().delete()


def test_a_changed_key_is_recorded_as_two_keys() -> None:
    with following(recording=True) as process:
        [key] = add_accounts(1)
        catch_up(process)
        forget_changes()
        sql("UPDATE finance_account SET _id = %s", "f" * 24)
        catch_up(process)
        assert recorded() == {key: 1, "f" * 24: 1}


def test_keys_of_each_kind_are_read() -> None:
    ids = [uuid.UUID("00112233-4455-6677-8899-aabbccdd0000"), uuid.uuid4()]
    with following(recording=True) as process:
        for one in ids:
            value = one if connection.features.has_native_uuid_field else one.hex
            sql("INSERT INTO zoo_typed (id, text) VALUES (%s, '')", str(value))
        sql("INSERT INTO zoo_tag (id, name) VALUES (4711, 'tag')")
        sql("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'k')", "a" * 24)
        sql("INSERT INTO zoo_animal (id, name, keeper_id) VALUES (%s, 'b', %s)", "b" * 24, "a" * 24)
        sql("INSERT INTO zoo_bird (animal_ptr_id, span) VALUES (%s, 2)", "b" * 24)
        catch_up(process)
        assert recorded("zoo.typed") == {str(one): 1 for one in ids}
        assert recorded("zoo.tag") == {"4711": 1}
        assert recorded("zoo.animal") == recorded("zoo.bird") == {"b" * 24: 1}


def test_an_alter_between_two_writes_is_harmless() -> None:
    with following(recording=True) as process:
        add_accounts(1)
        try:
            sql("ALTER TABLE finance_account ADD COLUMN note varchar(20) FIRST, ALGORITHM=COPY")
            sql("CREATE TABLE other (id int primary key, g geometry)")
            sql("INSERT INTO other VALUES (1, NULL)")
            add_accounts(1, first=2)
            sql("ALTER TABLE finance_account DROP COLUMN note")
            add_accounts(1, first=3)
        finally:
            sql("DROP TABLE IF EXISTS other")
        catch_up(process)
        assert recorded() == {f"{number:024x}": 1 for number in (1, 2, 3)}


def test_truncate_removes_the_documents(mongo: Database) -> None:
    add_accounts(1500)
    with following(and_relaying=True) as process:
        process.until(lambda: mongo.accounts.count_documents({}) == 1500)
        mongo.accounts.insert_one({"_id": "not written by the mirror"})
        sql("SET FOREIGN_KEY_CHECKS = 0")
        sql("TRUNCATE TABLE finance_account")
        sql("SET FOREIGN_KEY_CHECKS = 1")
        process.until(lambda: mongo.accounts.count_documents({}) == 1)
        process.until(lambda: not Sweep.objects.exists())


def test_a_dropped_partition_and_a_converted_column_are_backfilled(mongo: Database) -> None:
    add_accounts(3)
    with following(and_relaying=True) as process:
        process.until(lambda: mongo.accounts.count_documents({}) == 3)
        mongo.accounts.delete_many({})
        sql("ALTER TABLE finance_account MODIFY account_id int NOT NULL")
        process.until(lambda: mongo.accounts.count_documents({}) == 3)


def test_an_xa_transaction_takes_effect_at_its_commit() -> None:
    with following(recording=True) as process:
        for key, end in (("a" * 24, "COMMIT"), ("b" * 24, "ROLLBACK")):
            sql("XA START 'x'")
            sql("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'xa')", key)
            sql("XA END 'x'")
            sql("XA PREPARE 'x'")
            connection.close()  # only another session can write before the commit, and can commit it
            catch_up(process)
            assert key not in recorded("zoo.keeper")
            sql(f"XA {end} 'x'")
        catch_up(process)
        assert recorded("zoo.keeper")["a" * 24] == 1
        assert "b" * 24 not in recorded("zoo.keeper")


def test_a_prepared_transaction_is_recorded_only_when_its_locks_are_free(mariadb: MariaDB) -> None:
    """MariaDB logs its commit before readers see it. Another transaction holds the lock here in its place."""
    key = "c" * 24
    sql("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'before')", key)
    with following(recording=True) as process:
        for statement in ("XA START 'l'", f"UPDATE zoo_keeper SET name = 'xa' WHERE id = '{key}'", "XA END 'l'"):
            sql(statement)
        sql("XA PREPARE 'l'")
        connection.close()
        with ThreadPoolExecutor(1) as thread, closing(connection.copy("other")) as other:

            def lock() -> None:
                with other.cursor() as cursor:
                    cursor.execute("BEGIN")
                    cursor.execute("SELECT name FROM zoo_keeper WHERE id = %s FOR UPDATE", [key])

            other.inc_thread_sharing()
            locked = thread.submit(lock)
            waiting = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            wait_for(lambda: mariadb.sql(waiting), seconds=10)
            sql("XA COMMIT 'l'")
            locked.result()
            before = recorded("zoo.keeper").get(key, 0)
            time.sleep(1.0)
            assert recorded("zoo.keeper").get(key, 0) == before
            other.rollback()
            process.until(lambda: recorded("zoo.keeper").get(key, 0) == before + 1)


def test_minimal_row_images_suffice(mariadb: MariaDB) -> None:
    with following(recording=True) as process:
        add_accounts(2)
        catch_up(process)
        forget_changes()
        try:
            mariadb.sql("SET GLOBAL binlog_row_image = 'MINIMAL'")
            connection.close()  # only new sessions use the new setting
            sql("UPDATE finance_account SET `limit` = 3")
            account = Account.objects.create(account_id=9, limit=0)
            sql("DELETE FROM finance_account WHERE account_id = 1")
        finally:
            mariadb.sql("SET GLOBAL binlog_row_image = 'FULL'")
            connection.close()
        catch_up(process)
        assert recorded().keys() == {f"{1:024x}", f"{2:024x}", account.pk}


def test_a_model_without_capture_is_captured_by_the_follower_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(Account, "mirror", replace(Account.mirror, capture=False))
    with following(recording=True) as process:
        account = Account.objects.create(account_id=1, limit=0)
        assert recorded() == {}
        catch_up(process)
        assert recorded() == {account.pk: 1}
