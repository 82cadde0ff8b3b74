"""Recording a change wakes the idle relays of its machine. A relay that hears nothing still looks now and then."""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from pymongo.database import Database

from sync.outbox.capture import record
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.waiting import wait_for
from sync.tests.zoo.models import Tag
from sync.workers import bell
from sync.workers.shutdown import StopEvent
from sync.workers.supervisor import Component, running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Path]:
    settings.SYNC_INLINE = False
    with tempfile.TemporaryDirectory() as temporary:  # not pytest's, whose long path no socket can have
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        bell._directory.cache_clear()
        yield Path(temporary) / f"sync-{os.getuid()}"
    bell._directory.cache_clear()


@contextmanager
def relaying(interval: float) -> Iterator[Relay]:
    """A relay in a thread that has been idle for long, and looks every `interval` seconds."""
    relay = Relay(interval=interval)
    relay.loop.interval = interval

    def run() -> None:
        relay.run()
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield relay
    finally:
        relay.stop.set()
        thread.join()


@pytest.fixture
def sleeper(mongo: Database, folder: Path) -> Iterator[Relay]:
    """A relay that looks again only after a minute."""
    with relaying(60) as relay:
        wait_for(lambda: folder.exists() and any(folder.iterdir()))
        yield relay


def add(name: str) -> None:
    Tag.objects.create(id=abs(hash(name)) % 10_000, name=name)


def names(mongo: Database) -> set[str]:
    return {document["name"] for document in mongo.zoo_tags.find()}


def arrived(name: str, mongo: Database) -> bool:
    return name in names(mongo)


def test_a_change_wakes_an_idle_relay(sleeper: Relay, mongo: Database) -> None:
    for name in ("one", "two", "three"):
        add(name)
        wait_for(partial(arrived, name, mongo), seconds=10)


def test_a_transaction_wakes_it_once_at_its_commit(
    sleeper: Relay, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(bell, "ring", lambda queue, using: rung.append(queue))
    with transaction.atomic():
        for name in ("one", "two", "three"):
            add(name)
        assert rung == []
    assert rung == [""]
    with transaction.atomic():
        add("four")
        transaction.set_rollback(True)
    assert rung == [""]


def test_a_rolled_back_savepoint_takes_no_ring_with_it(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    monkeypatch.setattr(bell, "ring", lambda queue, using: rung.append(queue))
    with transaction.atomic():
        with transaction.atomic():
            add("lost")
            transaction.set_rollback(True)
        add("kept")
    assert rung == [""]


def test_the_socket_of_a_killed_relay_is_removed(sleeper: Relay, mongo: Database, folder: Path) -> None:
    left = folder / f"{bell._prefix('', 'default')}-dead"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(left))
    add("one")
    wait_for(lambda: "one" in names(mongo), seconds=10)
    assert not left.exists()


def test_a_relay_that_ends_leaves_no_socket(sleeper: Relay, folder: Path) -> None:
    assert len(list(folder.iterdir())) == 1
    sleeper.stop.set()
    wait_for(lambda: not list(folder.iterdir()), seconds=10)


def test_relays_of_another_database_or_queue_sleep_on(folder: Path) -> None:
    with bell.bell("eu", "default") as other, bell.bell("", "default") as ours:
        assert other is not None
        assert ours is not None
        bell.ring("", "default")
        assert ours.recv(1) == b""
        with pytest.raises(BlockingIOError):
            other.recv(1)


@pytest.mark.parametrize("mode", [0o777, 0o750])
def test_without_a_private_directory_nobody_rings_and_the_relay_looks(folder: Path, mode: int, mongo: Database) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with relaying(0.2):
        add("one")
        wait_for(lambda: "one" in names(mongo), seconds=10)
    assert list(folder.iterdir()) == []


def test_a_path_that_is_too_long_for_a_socket_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = folder.parent / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    bell._directory.cache_clear()
    with bell.bell("", "default") as made:
        assert made is None
    bell.ring("", "default")


def test_a_directory_that_is_a_link_is_not_used(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")
    with bell.bell("", "default") as made:
        assert made is None
    bell.ring("", "default")


def test_a_full_socket_delays_nobody(folder: Path) -> None:
    with bell.bell("", "default") as made:
        assert made is not None
        for _ in range(2000):
            bell.ring("", "default")
        bell.silence(made)
        with pytest.raises(BlockingIOError):
            made.recv(1)


def test_an_idle_relay_asks_only_whether_a_change_is_due(mongo: Database, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        Relay().drain()
    with transaction.atomic():
        record(Tag, [1], inline=False)
    assert Change.objects.any_due("")
    assert not Change.objects.any_due("eu")
    Change.objects.update(failed=True)
    assert not Change.objects.any_due("")
    assert Change.objects.any_failed("")


def test_a_component_that_sleeps_is_called_when_its_bell_rings(folder: Path) -> None:
    calls: list[int] = []

    def step() -> None:
        calls.append(1)

    with running(StopEvent(), Component("sleeper", step, 600.0, "jobs")):
        wait_for(lambda: len(calls) == 1)
        for number in (2, 3):
            bell.ring("another", "default")
            bell.ring("jobs", "default")
            wait_for(lambda: len(calls) == number)  # noqa: B023 (called at once)


def test_a_ring_does_not_shorten_the_pause_of_an_outage(folder: Path) -> None:
    calls: list[int] = []

    def step() -> None:
        calls.append(1)
        for _ in range(5):
            bell.ring("jobs", "default")
        raise OperationalError(2003, "away")

    with running(StopEvent(), Component("sleeper", step, 0.01, "jobs")):
        time.sleep(0.4)  # the first pause is 0.5 s
        assert len(calls) == 1


def test_a_relay_at_work_looks_at_the_changes_without_asking_whether_there_are_any(mongo: Database) -> None:
    with transaction.atomic():
        record(Tag, [1, 2, 3], inline=False)
    with CaptureQueriesContext(connection) as queries:
        assert sum(Relay(batch=1).drain().values()) == 3
    asked = [query["sql"] for query in queries if "value1" in query["sql"] and "due_at" in query["sql"]]
    assert len(asked) == 1, "before the first look"
