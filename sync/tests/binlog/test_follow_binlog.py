"""Raw SQL, other programs and TRUNCATE reach MongoDB through the binary log."""

import subprocess
import uuid
from collections.abc import Iterator
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
from sync.tests.support.follow import RELAY, add_accounts, catch_up, following, recorded, sql, until
from tests.servers import SERVERS, MariaDB

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    yield
    follow.revoke()


def test_a_row_written_by_another_program_is_in_mongodb_within_a_second(mongo: Database) -> None:
    with following(RELAY) as process:
        [key] = add_accounts(1)
        until(lambda: mongo.accounts.count_documents({"limit": 0}) == 1, process)
        _by_client(f"UPDATE finance_account SET `limit` = 7 WHERE _id = '{key}'")
        until(lambda: mongo.accounts.count_documents({"limit": 7}) == 1, process, 5)
        assert differences(Account, mongo) == []
        _by_client(f"DELETE FROM finance_account WHERE _id = '{key}'")
        until(lambda: mongo.accounts.count_documents({}) == 0, process, 5)


def _by_client(statement: str) -> None:
    """With MariaDB's own client, where there is one to the server."""
    if SERVERS.mariadb is None:
        sql(statement)
        return
    at = connection.settings_dict
    subprocess.run(
        ["mariadb", "--no-defaults", f"-h{at['HOST']}", f"-P{at['PORT']}", f"-u{at['USER']}", f"-p{at['PASSWORD']}",
         str(at["NAME"]), "-e", statement],
        check=True,
    )  # fmt: skip


def test_the_first_start_backfills_what_is_there_already(mongo: Database) -> None:
    add_accounts(10)
    with following(RELAY) as process:
        until(lambda: mongo.accounts.count_documents({}) == 10, process)
        assert differences(Account, mongo) == []


def test_what_a_transaction_has_recorded_itself_is_not_recorded_again() -> None:
    with following() as process:
        accounts = [Account(account_id=number, limit=0) for number in range(3)]
        Account.objects.bulk_create(accounts)
        Account.objects.update(limit=1)
        accounts[0].delete()
        catch_up(process)
        assert recorded() == {account.pk: 2 for account in accounts[1:]} | {str(_deleted(accounts[0])): 3}


def _deleted(account: Account) -> str:
    """A deleted instance has lost its key, and its change has it still."""
    return next(key for key, count in recorded().items() if count == 3)


def test_a_transaction_of_both_kinds_records_what_is_missing() -> None:
    with following() as process:
        account = Account.objects.create(account_id=1, limit=0)
        with transaction.atomic():
            account.save()
            keys = add_accounts(2)
        catch_up(process)
        assert recorded() == {account.pk: 2, keys[0]: 1, keys[1]: 1}


def test_a_rolled_back_transaction_records_nothing() -> None:
    with following() as process:
        with transaction.atomic():
            add_accounts(5)
            transaction.set_rollback(True)
        catch_up(process)
        assert recorded() == {}


@retry_on_deadlock
def forget_changes() -> None:
    """The follower writes to the same table, so MySQL may end either of the two as a deadlock's victim."""
    Change.objects.all().delete()


def test_a_changed_key_is_recorded_as_both() -> None:
    with following() as process:
        [key] = add_accounts(1)
        catch_up(process)
        forget_changes()
        sql("UPDATE finance_account SET _id = %s", "f" * 24)
        catch_up(process)
        assert recorded() == {key: 1, "f" * 24: 1}


def test_keys_of_each_kind_are_read() -> None:
    ids = [uuid.UUID("00112233-4455-6677-8899-aabbccdd0000"), uuid.uuid4()]
    with following() as process:
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


def test_an_alter_in_between_does_no_harm() -> None:
    with following() as process:
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
    with following(RELAY) as process:
        until(lambda: mongo.accounts.count_documents({}) == 1500, process)
        mongo.accounts.insert_one({"_id": "somebody else's"})
        sql("SET FOREIGN_KEY_CHECKS = 0")
        sql("TRUNCATE TABLE finance_account")
        sql("SET FOREIGN_KEY_CHECKS = 1")
        until(lambda: mongo.accounts.count_documents({}) == 1, process)
        until(lambda: not Sweep.objects.exists(), process)


def test_a_partitions_end_and_a_converted_column_are_backfilled(mongo: Database) -> None:
    add_accounts(3)
    with following(RELAY) as process:
        until(lambda: mongo.accounts.count_documents({}) == 3, process)
        mongo.accounts.delete_many({})
        sql("ALTER TABLE finance_account MODIFY account_id int NOT NULL")
        until(lambda: mongo.accounts.count_documents({}) == 3, process)


def test_an_xa_transaction_counts_when_it_is_committed() -> None:
    with following() as process:
        for key, end in (("a" * 24, "COMMIT"), ("b" * 24, "ROLLBACK")):
            sql("XA START 'x'")
            sql("INSERT INTO zoo_keeper (id, name) VALUES (%s, 'xa')", key)
            sql("XA END 'x'")
            sql("XA PREPARE 'x'")
            connection.close()  # another session may end it, and only that may write before
            catch_up(process)
            assert key not in recorded("zoo.keeper")
            sql(f"XA {end} 'x'")
        catch_up(process)
        assert recorded("zoo.keeper")["a" * 24] == 1
        assert "b" * 24 not in recorded("zoo.keeper")


def test_minimal_row_images_suffice(mariadb: MariaDB) -> None:
    with following() as process:
        add_accounts(2)
        catch_up(process)
        forget_changes()
        try:
            mariadb.sql("SET GLOBAL binlog_row_image = 'MINIMAL'")
            connection.close()  # a new session has the new setting
            sql("UPDATE finance_account SET `limit` = 3")
            account = Account.objects.create(account_id=9, limit=0)
            sql("DELETE FROM finance_account WHERE account_id = 1")
        finally:
            mariadb.sql("SET GLOBAL binlog_row_image = 'FULL'")
            connection.close()
        catch_up(process)
        assert recorded().keys() == {f"{1:024x}", f"{2:024x}", account.pk}


def test_a_model_without_capture_is_followed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(Account, "mirror", replace(Account.mirror, capture=False))
    with following() as process:
        account = Account.objects.create(account_id=1, limit=0)
        assert recorded() == {}
        catch_up(process)
        assert recorded() == {account.pk: 1}
