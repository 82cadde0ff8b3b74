"""/readyz reports whether requests can be served, in bounded time however a server fails, and reveals no secrets."""

import threading
import time
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pymongo.database import Database

from sync.monitoring import health
from tests.servers import MariaDB, Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture(autouse=True)
def forgetful() -> None:
    health.MYSQL.forget()
    health.MONGODB.forget()


def ask(client: Client) -> tuple[int, dict[str, str], float]:
    start = time.monotonic()
    response = client.get("/readyz")
    return response.status_code, response.json(), time.monotonic() - start


def test_it_is_ready_when_both_servers_respond(client: Client, mongo: Database) -> None:
    with CaptureQueriesContext(connection) as queries:
        code, words, _ = ask(client)
    assert (code, words) == (200, {"mysql": "ok", "mongodb": "ok"})
    assert len(queries) == 0, "the request's own connection is not used"
    assert client.get("/readyz")["Cache-Control"].startswith("max-age=0, no-cache")


def test_an_unreachable_mongodb_is_reported_and_not_fatal(client: Client, mongo: Database, mongod: Mongo) -> None:
    ask(client)
    health.MONGODB.forget()
    mongod.freeze()
    code, words, took = ask(client)
    assert (code, words) == (200, {"mysql": "ok", "mongodb": "away"})
    assert took < health.PATIENCE + 0.5
    mongod.thaw()
    health.MONGODB.forget()
    assert ask(client)[1]["mongodb"] == "ok"


def test_a_frozen_mysql_is_fatal_in_bounded_time(client: Client, mongo: Database, mariadb: MariaDB) -> None:
    assert ask(client)[0] == 200
    health.MYSQL.forget()
    before = threading.active_count()
    mariadb.freeze()
    try:
        for _ in range(3):
            code, words, took = ask(client)
            assert (code, words) == (503, {"mysql": "away", "mongodb": "ok"})
            assert took < health.PATIENCE + 0.5
        assert threading.active_count() <= before + 1, "any number of requests share one waiting thread"
    finally:
        mariadb.thaw()
    deadline = time.monotonic() + 20
    while ask(client)[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_missing_migrations_are_fatal(client: Client, mongo: Database, monkeypatch: Any) -> None:
    monkeypatch.setattr("sync.monitoring.health.MigrationExecutor.migration_plan", lambda self, targets: ["one"])
    monkeypatch.setattr(health.MYSQL, "ask", health.MigrationsSeen())
    code, words, _ = ask(client)
    assert (code, words["mysql"]) == (503, "not migrated")


def test_many_requests_query_each_server_once_in_two_seconds(client: Client, monkeypatch: Any) -> None:
    asked = []
    monkeypatch.setattr(health.MYSQL, "ask", lambda: asked.append(1) or "ok")
    monkeypatch.setattr(health.MONGODB, "ask", lambda: "ok")
    for _ in range(20):
        assert ask(client)[0] == 200
    assert len(asked) == 1


def test_it_reveals_no_host_and_no_secret(client: Client, monkeypatch: Any) -> None:
    def fail() -> str:
        raise OSError("mysql://root:secret@db.internal refuses")

    monkeypatch.setattr(health.MYSQL, "ask", fail)
    monkeypatch.setattr(health.MONGODB, "ask", fail)
    assert ask(client)[:2] == (503, {"mysql": "away", "mongodb": "away"})
