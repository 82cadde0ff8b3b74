"""The database users that the documents describe can do all that the portal does, with exactly these rights."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pymongo
import pytest

from tests.portal import environment
from tests.servers import ROOT, SERVERS, MariaDB

NAME = "documented"


def blocks(path: str) -> str:
    """The SQL of a document."""
    return "\n".join(re.findall(r"```sql\n(.*?)```", (ROOT / path).read_text(), re.DOTALL))


def statement(sql: str) -> str:
    """As documented, for a user and a database of this test's own."""
    return sql.replace("analytics", f"analytics_{NAME}").replace("portal@'%'", f"{NAME}@'%'")


class Portal:
    """Commands of a portal whose database user is the documented one."""

    def __init__(self, mariadb: MariaDB) -> None:
        uri = SERVERS.mongo.uri(NAME)
        database = f"mysql://{NAME}:a password@127.0.0.1:{mariadb.port}/analytics_{NAME}".replace(" ", "%20")
        self.env = environment() | {"DATABASE_URL": database, "MONGODB_URI": uri, "SYNC_KAFKA": "{}"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            text=True,
            capture_output=True,
            timeout=120,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.env, text=True, stderr=subprocess.PIPE
        )


@pytest.fixture
def portal(mariadb: MariaDB, transactional_db: None) -> Iterator[Portal]:
    [create] = re.findall(r"CREATE DATABASE analytics .*?GRANT ALL ON analytics[^;]*;", blocks("README.md"), re.DOTALL)
    mariadb.sql(statement(create))
    portal = Portal(mariadb)
    yield portal
    mariadb.sql(f"DROP DATABASE analytics_{NAME}; DROP USER {NAME}@'%'")
    with pymongo.MongoClient(portal.env["MONGODB_URI"]) as client:
        client.drop_database(NAME)


def test_the_portals_user_migrates_saves_delivers_and_verifies(portal: Portal) -> None:
    for arguments, status in (
        (("migrate", "--verbosity=0"), 0),
        (("check", "--database", "default"), 0),
        (("dual_write_test", "--keep"), 0),
        (("sync", "backfill"), 0),
        (("sync", "relay", "--once"), 0),
        (("sync", "verify", "--strict"), 0),
        (("clearsessions",), 0),
        (("audit_prune",), 0),
    ):
        done = portal.run(*arguments)
        assert done.returncode == status, (arguments, done.stdout, done.stderr)


def test_the_follower_names_the_grant_that_it_lacks_and_works_with_it(portal: Portal, mariadb: MariaDB) -> None:
    assert portal.run("migrate", "--verbosity=0").returncode == 0
    refused = portal.run("sync", "follow-binlog")
    assert refused.returncode == 2
    [documented] = re.findall(r"GRANT [^;]*BINLOG MONITOR[^;]*;", blocks("docs/follow-binlog.md"))
    assert statement(documented) in refused.stderr.replace("'", "").replace("@%", "@'%'")

    mariadb.sql(statement(documented))
    follower, relay = portal.start("sync", "follow-binlog"), portal.start("sync", "relay")
    try:
        columns, key = "_id, account_id, `limit`, products, extra", "5ca4bbc7a2dd94ee5816238c"
        with pymongo.MongoClient(portal.env["MONGODB_URI"]) as client:
            give_up = time.monotonic() + 60
            mariadb.sql(
                f"USE analytics_{NAME}; INSERT INTO finance_account ({columns}) VALUES ('{key}', 7, 1, '[]', '{{}}')"
            )
            while not client[NAME].accounts.count_documents({"account_id": 7}):
                assert time.monotonic() < give_up
                assert follower.poll() is None
                time.sleep(0.1)
    finally:
        for process in (follower, relay):
            process.terminate()
            process.communicate(timeout=30)
