"""The follower reads logs that the server compresses, also when only some transactions are compressed.

On MySQL the user of TEST_DATABASE needs SESSION_VARIABLES_ADMIN. COMPRESSED_ROUNDS is the number of transactions under
kill -9 (60 by default), and SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from django.db import OperationalError, connection, transaction
from pymongo.database import Database

from finance.models import Account
from sync.binlog.server import Server
from sync.tests.support import follow
from sync.tests.support.compare import differences
from sync.tests.support.composed import expected, stored
from sync.tests.support.follow import add_accounts, catch_up, following, recorded, saved, sql
from sync.tests.support.processes import Process, relaying
from sync.tests.support.waiting import wait_for
from tests.servers import SERVERS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ROUNDS = int(os.environ.get("COMPRESSED_ROUNDS", "60"))
KILLS = 5
DENIED = 1227  # error number
ROWS = {f"{write}_rows_compressed_v1" for write in ("Write", "Update", "Delete")}
COMPRESSED = {*ROWS, "Query_compressed"}  # what MariaDB calls these events; MySQL has one for all of them
LARGE = 3_000_000  # characters: longer than a block of either method


@pytest.fixture(autouse=True)
def _compression(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    connection.close()  # the next one has the rights
    compress(True)
    yield
    compress(False)
    follow.revoke()


def compress(on: bool) -> None:
    """Switch compression of this connection's next transactions on or off."""
    if SERVERS.mariadb is not None:
        SERVERS.mariadb.sql(f"SET GLOBAL log_bin_compress = {int(on)}, GLOBAL log_bin_compress_min_len = 10")
        return
    try:
        sql(f"SET SESSION binlog_transaction_compression = {int(on)}")
    except OperationalError as error:
        if error.args[0] != DENIED:
            raise
        pytest.skip("the user of TEST_DATABASE may not switch compression on (GRANT SESSION_VARIABLES_ADMIN)")


def events_since(file: str, offset: int) -> set[str]:
    """Return the names of the compressed events in the log after this position."""
    rows = sql(f"SHOW BINLOG EVENTS IN '{file}' FROM {offset}")
    return {row[2] for row in rows} & {*COMPRESSED, "Transaction_payload"}


def test_inserts_updates_and_deletes_are_delivered(mongo: Database) -> None:
    begin = Server("default").end()
    with following(and_relaying=True) as process:
        _, second, third = add_accounts(3)
        large = json.dumps({"text": "long " * (LARGE // 5)})
        sql("UPDATE finance_account SET `limit` = 7, extra = %s WHERE _id = %s", large, second)
        sql("DELETE FROM finance_account WHERE _id = %s", third)
        catch_up(process)
        wait_for(lambda: mongo.accounts.count_documents({}) == 2)
        assert differences(Account, mongo) == []
        assert len(mongo.accounts.find_one({"_id": ObjectId(second)})["text"]) == LARGE
        assert "cannot be read" not in process.output
    assert events_since(*begin) >= (ROWS if connection.mysql_is_mariadb else {"Transaction_payload"})


def test_a_compressed_statement_is_read(mongo: Database) -> None:
    add_accounts(3)
    with following(and_relaying=True) as process:
        process.until(lambda: mongo.accounts.count_documents({}) == 3)
        begin = Server("default").end()
        sql("TRUNCATE TABLE finance_account")
        process.until_it_says("Statements may have changed rows of finance.account.")
        process.until(lambda: mongo.accounts.count_documents({}) == 0)
    if connection.mysql_is_mariadb:  # MySQL compresses transactions only
        assert "Query_compressed" in events_since(*begin)


def test_what_the_application_recorded_in_a_compressed_transaction_is_not_recorded_again() -> None:
    with following(recording=True) as process:
        with transaction.atomic():
            account = Account.objects.create(account_id=1, limit=0)
            [key] = add_accounts(1, first=2)
        catch_up(process)
        assert recorded() == {account.pk: 1, key: 1}


@pytest.mark.slow
def test_a_follower_killed_inside_a_compressed_transaction_reads_it_again() -> None:
    with following(recording=True):
        pass
    begin = Server("default").end()
    sql("INSERT INTO finance_account (_id, account_id, `limit`, products, extra) "
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) "
        "SELECT LPAD(HEX(a.i * 1000 + b.i), 24, '0'), a.i, b.i, '[]', '{}' FROM n a, n b WHERE a.i <= 15"
    )  # fmt: skip
    assert events_since(*begin) & {"Write_rows_compressed_v1", "Transaction_payload"}
    with follow.follower() as process:
        for _ in range(2):
            _wait_for_a_part(process)
            position = saved()
            process.kill()
            assert (saved().file, saved().offset) == (position.file, position.offset), "the position stays before it"
            process.start()
        catch_up(process)
    assert len(recorded()) == 13_500
    assert set(recorded().values()) == {1}


def _wait_for_a_part(process: Process) -> None:
    before = len(recorded())
    process.until(lambda: saved().part and len(recorded()) > before, seconds=60)


def test_compressed_and_plain_transactions_under_kill_9(mongo: Database) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    writer = Writer(random.Random(seed))
    begin, due = Server("default").end(), 0.0
    with following() as process, relaying():
        for number in range(ROUNDS):
            compress(writer.chance.random() < 0.5)
            writer.write()
            if number > due:
                due += ROUNDS / KILLS
                process.kill()
                process.start()
        catch_up(process)
        wait_for(lambda: differences(Account, mongo) == [], "accounts", 60)
        wait_for(lambda: stored(mongo) == expected(), "documents of several tables", 60)
        assert "cannot be read" not in process.output
        assert "Cannot continue" not in process.output
    assert events_since(*begin) >= (ROWS if connection.mysql_is_mariadb else {"Transaction_payload"})
    assert mongo.accounts.count_documents({}) > ROUNDS
    assert writer.shelters


class Writer:
    """Writes random transactions with raw SQL: rows that are mirrored alone, and rows that documents embed."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.number = 0
        self.shelters: list[str] = []

    def write(self) -> None:
        steps = [self.insert, self.insert, self.update, self.delete, self.compose, self.change_embedded]
        with transaction.atomic():
            for step in self.chance.choices(steps, k=self.chance.randint(1, 8)):
                step()

    def insert(self) -> None:
        count = self.chance.choice([1, 5, 300])
        add_accounts(count, first=self.number + 1)
        self.number += count

    def update(self) -> None:
        """Changes a tenth of the accounts, and gives one a large value that can hardly be compressed."""
        sql(
            "UPDATE finance_account SET `limit` = `limit` + 1 WHERE MOD(account_id, 10) = %s", self.chance.randrange(10)
        )
        text = self.chance.randbytes(self.chance.choice([10, 200_000])).hex()
        sql("UPDATE finance_account SET extra = %s WHERE account_id = %s",
            json.dumps({"text": text}), self.chance.randint(1, self.number + 1))  # fmt: skip

    def delete(self) -> None:
        sql("DELETE FROM finance_account WHERE MOD(account_id, 20) = %s", self.chance.randrange(20))

    def compose(self) -> None:
        key = f"{time.monotonic_ns():024x}"
        sql("INSERT INTO zoo_shelter (id, name) VALUES (%s, 'raw')", key)
        sql("INSERT INTO zoo_pen (shelter_id, name) VALUES (%s, 'one'), (%s, 'two')", key, key)
        self.shelters.append(key)

    def change_embedded(self) -> None:
        sql("INSERT INTO zoo_guest (pen_id, name, arrived) SELECT id, 'guest', %s FROM zoo_pen", self.number)
        sql("UPDATE zoo_pen SET name = CONCAT('pen ', %s) WHERE name = 'one' LIMIT 3", self.chance.randrange(9))
        sql("DELETE FROM zoo_pen WHERE name = 'two' AND id NOT IN (SELECT pen_id FROM zoo_guest)")
