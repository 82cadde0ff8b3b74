"""An operator pauses and resumes copies that follow, run on a schedule or run once, also across a kill -9."""

import threading
import time
from io import StringIO

import pymongo
import pytest
from pymongo.collection import Collection

from sync.cli.copy import _repeat
from sync.mongodb.uris import parse
from sync.replication.copier import Copier
from sync.tests.support.copies import COPY, SOURCE, address, contents, copy
from sync.tests.support.processes import Process, manage
from sync.tests.support.routes import (
    is_paused_and_falls_behind,
    once_is_refused,
    pause,
    resume,
    status_of,
    stays_as_it_is,
    until,
)
from sync.workers.models import Checkpoint
from sync.workers.routes import PAUSE_AGE
from tests.servers import SERVERS

pytestmark = pytest.mark.django_db(transaction=True)

ROUTE_OF = "copy:127.0.0.1:{port}/copy_destination.{name}"


def route(name: str = "things") -> str:
    return ROUTE_OF.format(port=SERVERS.mongo.port, name=name)


def follow_copy(*collection: str) -> Process:
    return manage("sync", "copy", address(SOURCE, *collection), address(COPY, *collection), "--follow")


def write(source: Collection, number: int) -> None:
    """Inserts, changes and deletes documents."""
    source.insert_many([{"_id": number * 100 + each, "text": "a"} for each in range(20)])
    source.update_one({"_id": number * 100 + 5}, {"$set": {"text": f"new {number}"}})
    source.delete_one({"_id": number * 100 + 6})


def in_sync(source: Collection, copied: Collection) -> bool:
    return contents(source) == contents(copied)


@pytest.mark.slow
def test_a_paused_copy_writes_nothing_and_loses_nothing(source: Collection, copied: Collection) -> None:
    write(source, 1)
    with follow_copy("things") as process:
        until(lambda: in_sync(source, copied) and status_of(route()).get("alive"))
        pause(route())
        time.sleep(PAUSE_AGE + 0.5)
        write(source, 2)
        stays_as_it_is(lambda: contents(copied))
        is_paused_and_falls_behind(route(), process.pid)
        process.kill()
        process.start()
        is_paused_and_falls_behind(route(), process.pid)
        write(source, 3)
        stays_as_it_is(lambda: contents(copied))
        assert len(contents(copied)) == 19
        assert process.status is None
        resume(route())
        until(lambda: in_sync(source, copied))
        assert len(contents(copied)) == 57
        until(lambda: status_of(route())["lag"] < 5)


def test_one_of_several_collections_is_paused(client: pymongo.MongoClient, source: Collection) -> None:
    other = client[SOURCE]["others"]
    write(source, 1)
    write(other, 1)
    with follow_copy():
        until(lambda: in_sync(other, client[COPY]["others"]) and status_of(route()).get("alive"))
        pause(route())
        time.sleep(PAUSE_AGE + 0.5)
        write(source, 2)
        write(other, 2)
        until(lambda: in_sync(other, client[COPY]["others"]))
        stays_as_it_is(lambda: contents(client[COPY]["things"]))
        assert len(contents(client[COPY]["things"])) == 19
        resume(route())
        until(lambda: in_sync(source, client[COPY]["things"]))


def test_a_single_copy_of_a_paused_route_is_refused(source: Collection, copied: Collection) -> None:
    write(source, 1)
    Checkpoint.objects.create(name=route(), paused=True)
    once_is_refused(route(), copy)
    assert contents(copied) == []
    resume(route())
    copy()
    assert in_sync(source, copied)


def test_a_copy_on_a_schedule_waits_until_it_is_resumed(source: Collection, copied: Collection) -> None:
    write(source, 1)
    Checkpoint.objects.create(name=route(), paused=True)
    copier = Copier(parse(address(SOURCE, "things")), parse(address(COPY, "things")))

    thread = threading.Thread(target=_repeat, args=(copier, 0.2, StringIO()))
    thread.start()
    try:
        stays_as_it_is(lambda: contents(copied), 1.0)
        assert thread.is_alive()
        resume(route())
        until(lambda: in_sync(source, copied))
    finally:
        copier.stop.set()
        thread.join(30)
        copier.close()
