"""A wrong password, a missing privilege or a wrong replica set: one warning, no dead letters, and saving continues."""

import logging
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pymongo
import pytest
from pymongo.database import Database

from finance.models import Account
from sync.mongodb.breaker import BREAKER
from sync.mongodb.client import forget_clients
from sync.monitoring.status import status
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.factories import make
from sync.tests.support.waiting import wait_for
from tests.servers import SERVERS, Mongo
from tests.servers import mongod as program

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]

PASSWORD = "a pass:word@/"


class Guarded(Mongo):
    """A mongod with authentication: the users `root`, `writer` and `reader`. `reader` may not write."""

    def start(self) -> None:
        self.folder.mkdir()
        key = self.folder / "key"
        key.touch(0o600)
        key.write_text("aGVsbG8gZnJvbSBvbmUgbWVtYmVy")
        self.process = program.start(self.folder, self.port, "--auth", "--keyFile", str(key))
        program.initiate(self.port)
        with pymongo.MongoClient("127.0.0.1", self.port, directConnection=True) as client:  # type: pymongo.MongoClient
            client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        with pymongo.MongoClient(self.uri("admin"), directConnection=True) as client:
            for name, role in (("writer", "readWrite"), ("reader", "read")):
                roles = [{"role": role, "db": "analytics_test"}]
                client.admin.command("createUser", name, pwd=PASSWORD, roles=roles)

    def uri(self, database: str, user: str = "root", password: str = PASSWORD, replica_set: str = "rs0") -> str:
        login = f"{user}:{quote(password, safe='')}"
        return f"mongodb://{login}@127.0.0.1:{self.port}/{database}?authSource=admin&replicaSet={replica_set}"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    server = Guarded(SERVERS.place("guarded"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def documents(guarded: Guarded, mongo: Database, settings: Any) -> Iterator[Any]:
    """The empty collection of accounts on the guarded server."""
    settings.SYNC_TIMEOUT = 1
    with pymongo.MongoClient(guarded.uri("analytics_test")) as client:  # type: pymongo.MongoClient[dict[str, Any]]
        documents = client.get_default_database().accounts
        documents.delete_many({})
        yield documents
    forget_clients()
    BREAKER.succeeded()


def use(settings: Any, uri: str) -> None:
    settings.MONGODB_URI = uri
    forget_clients()


MISTAKES = [
    ({"user": "writer", "password": "wrong"}, "MongoDB rejects the login: wrong user, password or authSource"),
    ({"user": "nobody"}, "MongoDB rejects the login: wrong user, password or authSource"),
    ({"user": "reader"}, "MongoDB: not authorized on analytics_test to execute update"),
    ({"user": "writer", "replica_set": "other"}, 'MongoDB has no replica set "other" there: check the hosts, and '
     "replicaSet in the address"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=["password", "user", "rights", "replica set"])
def test_the_relay_warns_once_and_continues_when_the_mistake_is_fixed(
    mistake: dict[str, str], words: str, guarded: Guarded, documents: Any, settings: Any, caplog: Any,
    monkeypatch: Any,
) -> None:  # fmt: skip
    settings.SYNC_INLINE = False
    monkeypatch.setattr("sync.workers.heartbeat.BEAT", 0.1)
    use(settings, guarded.uri("analytics_test", **mistake))
    Account.objects.bulk_create([make(number) for number in range(20)])
    relay = Relay(batch=5, interval=0.05)
    tries: list[None] = []
    deliver = relay._round
    relay._round = lambda **more: (tries.append(None), deliver(**more))[1]  # type: ignore[method-assign]
    caplog.set_level(logging.INFO, "sync")
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        wait_for(lambda: len(tries) >= 3, seconds=60)
        loud = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(loud) == 1, loud
        assert loud[0] == f"{words}. Nothing is lost; retrying."
        left = Change.objects.values_list("attempts", "failed", "error").distinct()
        assert list(left) == [(0, False, "")]
        assert Change.objects.count() == 20
        wait_for(lambda: status().word == "unreachable")
        use(settings, guarded.uri("analytics_test", "writer"))
        wait_for(lambda: not Change.objects.exists(), seconds=60)
    finally:
        relay.stop.set()
        thread.join()
    assert documents.count_documents({}) == 20
    assert "Working again." in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=["password", "user", "rights", "replica set"])
def test_saving_continues_and_the_breaker_logs_one_line(
    mistake: dict[str, str], words: str, guarded: Guarded, documents: Any, settings: Any, caplog: Any
) -> None:
    settings.SYNC_BREAKER_RESET = 600
    use(settings, guarded.uri("analytics_test", **mistake))
    caplog.set_level(logging.INFO, "sync")
    for number in range(10):
        make(number).save()
    loud = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(loud) == 1, loud
    assert loud[0] == f"{words}; 1 change is left to the relay"
    assert list(Change.objects.values_list("attempts", "failed", "claim").distinct()) == [(0, False, "")]
    use(settings, guarded.uri("analytics_test", "writer"))
    Relay().drain()
    assert documents.count_documents({}) == 10
