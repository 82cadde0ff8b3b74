"""A resume token is used only with its own history, not with another server, an older backup or a new collection.

The source of these tests is a separate server whose data the tests replace.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, ClassVar

import pymongo
import pytest
from bson import Int64
from django.core.management import call_command
from django.db import connection
from pymongo.collection import Collection
from pymongo.database import Database

from sync.mongodb.client import forget_clients
from sync.mongodb.uris import parse
from sync.replication.copier import Copier
from sync.replication.puller import Puller
from sync.tests.support.copies import COPY, SOURCE, address, contents, copy, copying, status_of, wait_until_equal
from sync.tests.zoo.models import Visit
from tests.servers import SERVERS, Mongo

pytestmark = pytest.mark.django_db(transaction=True)  # for the heartbeat of the copier


class Source(Mongo):
    """A server whose data can be backed up and replaced, at the same address."""

    clients: ClassVar[list[pymongo.MongoClient]] = []

    def keep(self, name: str) -> None:
        """Makes a backup of the data."""
        self.shut_down()
        shutil.copytree(self.folder, self.folder.with_name(name))
        self.start()

    def restore(self, name: str) -> None:
        """Replaces the data with a backup. Without one, the server is empty."""
        self.shut_down()
        shutil.rmtree(self.folder)
        kept = self.folder.with_name(name)
        if kept.exists():
            shutil.copytree(kept, self.folder)
            shutil.rmtree(kept)
        self.start()

    def shut_down(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def things(self) -> Collection:
        """Returns the source of a new client: a client that has seen other data rejects this server."""
        self.clients.append(pymongo.MongoClient(self.uri(""), tz_aware=True, serverSelectionTimeoutMS=10_000))
        return self.clients[-1][SOURCE]["things"]

    def address(self, *path: str) -> str:
        return self.uri("/".join(path))


@pytest.fixture(scope="module")
def server() -> Iterator[Source]:
    source = Source(SERVERS.place("history"))
    source.start()
    yield source
    source.stop()


@pytest.fixture
def source(server: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collection]:
    monkeypatch.setattr("sync.replication.replicator.STALE", 0.5)
    yield server.things()
    for name in (SOURCE, "analytics_test"):
        server.things().database.client.drop_database(name)
    while server.clients:
        server.clients.pop().close()
    shutil.rmtree(server.folder.with_name("backup"), ignore_errors=True)


@pytest.fixture
def copied() -> Iterator[Collection]:
    with pymongo.MongoClient(SERVERS.mongo.uri(""), tz_aware=True) as client:
        client.drop_database(COPY)
        yield client[COPY]["things"]
        client.drop_database(COPY)


def put(collection: Collection, *keys: int, value: int = 0) -> None:
    for key in keys:
        collection.replace_one({"_id": key}, {"_id": key, "value": value}, upsert=True)


@contextmanager
def following(source: str) -> Iterator[None]:
    """Runs a copier that follows, in a thread of this process."""
    work = Copier(parse(source), parse(address(COPY, "things")))
    thread = threading.Thread(target=work.follow, args=(lambda result: None,))
    thread.start()
    try:
        yield
    finally:
        work.stop.set()
        thread.join(60)
        work.close()
    assert work.failure is None


def older_backup(server: Source) -> None:
    """Restores an older backup without the last changes that the copy saw, and makes other changes."""
    server.restore("backup")
    source = server.things()
    put(source, 3, value=33)
    put(source, 7)


def same_key_again(server: Source) -> None:
    """Restores an older backup, makes a change that the copy did not see, then the same last change at another time."""
    server.restore("backup")
    source = server.things()
    put(source, 8)
    put(source, 4, value=2)


def another_server(server: Source) -> None:
    server.restore("nothing")
    put(server.things(), 2, 9)


def quiet_older_backup(server: Source) -> None:
    server.restore("backup")


SWAPS: list[Callable[[Source], None]] = [
    older_backup, same_key_again, another_server, quiet_older_backup,
]  # fmt: skip


@pytest.mark.parametrize(
    ("swap", "is_live"),
    [*((swap, False) for swap in SWAPS), (older_backup, True), (another_server, True)],
)
def test_another_history_at_the_address_is_detected_and_everything_compared(
    server: Source, source: Collection, copied: Collection, swap: Any, is_live: bool, caplog: Any
) -> None:
    caplog.set_level(logging.WARNING)
    put(source, 1, 2, 3)
    server.keep("backup")
    arguments = (server.address(SOURCE, "things"), address(COPY, "things"))
    copy(*arguments)
    put(source, 4, 5)
    source.delete_one({"_id": 1})
    if is_live:
        with following(arguments[0]):
            wait_until_equal(source, copied)
            put(source, 4, value=2)
            wait_until_equal(source, copied)
            swap(server)
            source = server.things()
            wait_until_equal(source, copied)
            put(source, 10)
            wait_until_equal(source, copied)
    else:
        put(source, 4, value=2)
        copy(*arguments)
        swap(server)
        copy(*arguments)
        assert contents(copied) == contents(server.things())
    assert "Comparing everything again" in caplog.text
    assert status_of(*arguments, "--verify") == 0


def test_a_server_that_restarts_with_the_same_data_is_not_compared_again(
    server: Source, source: Collection, copied: Collection, caplog: Any
) -> None:
    caplog.set_level(logging.WARNING)
    put(source, *range(50))
    arguments = (server.address(SOURCE, "things"), address(COPY, "things"))
    copy(*arguments)
    put(source, 3, value=3)
    copy(*arguments)
    server.shut_down()
    server.start()
    assert " 0 read, 0 written" in copy(*arguments)
    put(source, 3, value=4)
    server.kill()
    server.start()
    assert " 1 read, 1 written" in copy(*arguments)
    assert contents(copied) == contents(source)
    assert "Comparing everything again" not in caplog.text


def test_a_token_that_is_ahead_of_the_server_is_lost(server: Source, source: Collection, copied: Collection) -> None:
    put(source, *range(5))
    arguments = (server.address(SOURCE, "things"), address(COPY, "things"))
    copy(*arguments)
    states = copied.database["_sync_copy"]
    token = states.find_one({"_id": "things"})["token"]["_data"]
    states.update_one({"_id": "things"}, {"$set": {"token._data": f"82FFFFFFF0{token[10:]}"}})
    source.delete_one({"_id": 1})
    copy(*arguments)
    assert contents(copied) == contents(source)


def test_an_empty_server_at_the_address_removes_no_documents(
    server: Source, source: Collection, copied: Collection
) -> None:
    put(source, *range(5))
    arguments = (server.address(SOURCE, "things"), address(COPY, "things"))
    copy(*arguments)
    server.restore("nothing")
    assert status_of(*arguments) == 2
    assert copied.count_documents({}) == 5


def deleted(source: Collection) -> None:
    source.delete_many({})


def dropped(source: Collection) -> None:
    source.drop()


def made_again(source: Collection) -> None:
    source.drop()
    put(source, 2, 3, value=1)


def made_again_with_the_same(source: Collection) -> None:
    documents = list(source.find())
    source.drop()
    source.insert_many(documents[1:])


def renamed_over(source: Collection) -> None:
    put(source.database["others"], 2, 9)
    source.database["others"].rename("things", dropTarget=True)


def renamed_and_made_again(source: Collection) -> None:
    source.rename("old", dropTarget=True)
    put(source, 8)


def database_dropped(source: Collection) -> None:
    source.database.client.drop_database(source.database.name)


def database_made_again(source: Collection) -> None:
    source.database.client.drop_database(source.database.name)
    put(source, 6)


CHANGES = [
    deleted, dropped, made_again, made_again_with_the_same, renamed_over, renamed_and_made_again, database_dropped,
    database_made_again,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_drops_and_renames_of_a_collection_are_followed_stopped_and_live(
    server: Source, source: Collection, copied: Collection, change: Any
) -> None:
    arguments = (server.address(SOURCE, "things"), address(COPY, "things"))
    put(source, *range(5))
    copy(*arguments)
    change(source)
    copy(*arguments)
    assert contents(copied) == contents(source)
    source.drop()
    put(source, *range(5))
    with following(arguments[0]):
        wait_until_equal(source, copied)
        change(source)
        wait_until_equal(source, copied)
        put(source, 20)
        wait_until_equal(source, copied)


def test_a_killed_copy_follows_a_collection_that_was_created_again(
    server: Source, source: Collection, copied: Collection
) -> None:
    put(source, *range(5))
    with copying(server.address(SOURCE, "things"), address(COPY, "things")) as process:
        for change in (made_again, renamed_over):
            wait_until_equal(source, copied)
            process.kill()
            change(source)
            process.start()
        wait_until_equal(source, copied)
        assert process.terminate() == 0


def test_a_collection_replaced_during_a_restart_without_oplog_is_detected_by_its_uuid(
    server: Source, source: Collection, copied: Collection
) -> None:
    arguments = (server.address(SOURCE, "things"), address(COPY, "things"))
    put(source, *range(5))
    copy(*arguments)
    put(source, 1, value=1)
    copy(*arguments)
    states = copied.database["_sync_copy"]
    states.update_one({"_id": "things"}, {"$set": {"history.uuid": "6f1b8e0a-0000-4000-8000-000000000000"}})
    copied.delete_one({"_id": 2})
    copy(*arguments)
    assert contents(copied) == contents(source)


@pytest.mark.django_db(transaction=True)
@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("is_live", [False, True], ids=["stopped", "live"])
def test_a_pull_detects_another_history_too(
    server: Source, source: Collection, mongo: Database, settings: Any, is_live: bool
) -> None:
    settings.MONGODB_URI = server.uri("analytics_test")
    forget_clients()

    def visit(number: int, badge: str) -> None:
        visits = server.things().database.client["analytics_test"]["zoo_visits"]
        visits.replace_one({"_id": Int64(number)}, {"_id": Int64(number), "badge": badge}, upsert=True)

    def badges() -> dict[int, str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, badge FROM zoo_visit")
            return dict(cursor.fetchall())

    def wait_for(wanted: dict[int, str]) -> None:
        end = time.monotonic() + 60
        while badges() != wanted and time.monotonic() < end:
            time.sleep(0.05)
        assert badges() == wanted

    def pull() -> None:
        if not is_live:
            call_command("sync", "pull", "visit", "--once", stdout=StringIO())

    puller = Puller([Visit])
    thread = threading.Thread(target=puller.run)
    try:
        visit(1, "one")
        server.keep("backup")
        if is_live:
            puller.lease()
            thread.start()
        pull()
        visit(2, "two")
        pull()
        wait_for({1: "one", 2: "two"})
        server.restore("backup")
        visit(3, "three")
        pull()
        wait_for({1: "one", 3: "three"})
    finally:
        puller.stop.set()
        if is_live:
            thread.join(60)
            puller.release()
        forget_clients()
