"""The database users in the docs have the rights that the portal needs, with exactly the documented grants."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pymongo
import pytest

from sync.tests.support.processes import Process, finished, manage
from tests.portal import variables
from tests.servers import ROOT, SERVERS, MariaDB

NAME = "documented"


def blocks(path: str) -> str:
    """The SQL blocks of a page."""
    return "\n".join(re.findall(r"```sql\n(.*?)```", (ROOT / path).read_text(), re.DOTALL))


def statement(sql: str) -> str:
    """The documented SQL for this test's own user and database."""
    return sql.replace("analytics", f"analytics_{NAME}").replace("portal@'%'", f"{NAME}@'%'")


class Portal:
    """A portal that connects as the documented database user."""

    def __init__(self, mariadb: MariaDB) -> None:
        uri = SERVERS.mongo.uri(NAME)
        database = f"mysql://{NAME}:a password@127.0.0.1:{mariadb.port}/analytics_{NAME}".replace(" ", "%20")
        self.variables = variables() | {"DATABASE_URL": database, "MONGODB_URI": uri, "SYNC_KAFKA": "{}"}

    def command(self, *arguments: str) -> Process:
        return manage(*arguments, **self.variables)

    def run(self, *arguments: str) -> Process:
        return finished(self.command(*arguments), 120)


@pytest.fixture
def portal(mariadb: MariaDB, transactional_db: None) -> Iterator[Portal]:
    [create] = re.findall(
        r"CREATE DATABASE analytics .*?GRANT ALL ON analytics[^;]*;", blocks("docs/how-to/production.md"), re.DOTALL
    )
    mariadb.sql(statement(create))
    portal = Portal(mariadb)
    yield portal
    mariadb.sql(f"DROP DATABASE analytics_{NAME}; DROP USER {NAME}@'%'")
    with pymongo.MongoClient(portal.variables["MONGODB_URI"]) as client:
        client.drop_database(NAME)


@pytest.mark.slow
def test_the_documented_user_can_migrate_save_deliver_and_verify(portal: Portal) -> None:
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
        assert done.status == status, (arguments, done.output)


def test_the_follower_names_its_missing_grant_and_works_once_it_has_it(portal: Portal, mariadb: MariaDB) -> None:
    assert portal.run("migrate", "--verbosity=0").status == 0
    refused = portal.run("sync", "follow-binlog")
    assert refused.status == 2
    [documented] = re.findall(r"GRANT [^;]*BINLOG MONITOR[^;]*;", blocks("docs/how-to/follow-binlog.md"))
    assert statement(documented) in refused.stderr.replace("'", "").replace("@%", "@'%'")

    mariadb.sql(statement(documented))
    with portal.command("sync", "follow-binlog") as follower, portal.command("sync", "relay") as relay:
        columns, key = "_id, account_id, `limit`, products, extra", "5ca4bbc7a2dd94ee5816238c"
        mariadb.sql(
            f"USE analytics_{NAME}; INSERT INTO finance_account ({columns}) VALUES ('{key}', 7, 1, '[]', '{{}}')"
        )
        with pymongo.MongoClient(portal.variables["MONGODB_URI"]) as client:
            follower.until(
                lambda: client[NAME].accounts.count_documents({"account_id": 7}), "the account is in MongoDB"
            )
        follower.terminate(30)
        relay.terminate(30)
