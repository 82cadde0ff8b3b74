"""An operator pauses and resumes a running pull, also across a kill -9 during the pause."""

from collections.abc import Iterator
from typing import Any

import pytest
from bson import Int64
from django.core.management import call_command
from django.db import connection
from pymongo.collection import Collection
from pymongo.database import Database

from sync.tests.support.processes import manage
from sync.tests.support.routes import (
    is_paused_and_falls_behind,
    once_is_refused,
    pause,
    resume,
    status_of,
    stays_as_it_is,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)

ROUTE = "pull:zoo.visit"
PULL = ("sync", "pull", "visit")


@pytest.fixture
def visits(mongo: Database) -> Iterator[Collection]:
    mongo["zoo_visits"].drop()
    yield mongo["zoo_visits"]
    mongo["zoo_visits"].drop()


def badges() -> dict[int, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, badge FROM zoo_visit")
        return dict(cursor.fetchall())


def documents(visits: Collection) -> dict[int, str]:
    return {document["_id"]: document["badge"] for document in visits.find()}


def visit(number: int) -> dict[str, Any]:
    return {"_id": Int64(number), "badge": f"b{number}"}


def write(visits: Collection, number: int) -> None:
    """Inserts, changes and deletes documents."""
    visits.insert_many([visit(number * 100 + each) for each in range(20)])
    visits.update_one({"_id": number * 100 + 5}, {"$set": {"badge": f"new {number}"}})
    visits.delete_one({"_id": number * 100 + 6})


def test_a_paused_pull_writes_nothing_and_loses_nothing(visits: Collection) -> None:
    write(visits, 1)
    with manage(*PULL) as process:
        until(lambda: badges() == documents(visits))
        assert status_of(ROUTE)["paused"] is False
        pause(ROUTE)
        write(visits, 2)
        visits.delete_many({"_id": {"$lt": 110}})
        stays_as_it_is(badges)
        is_paused_and_falls_behind(ROUTE, process.pid)
        process.kill()
        process.start()
        is_paused_and_falls_behind(ROUTE, process.pid)
        write(visits, 3)
        stays_as_it_is(badges)
        assert len(badges()) == 19
        assert process.status is None
        resume(ROUTE)
        until(lambda: badges() == documents(visits))
        assert len(badges()) == 10 + 19 + 19
        until(lambda: status_of(ROUTE)["lag"] < 5)


def test_a_pull_that_is_paused_in_its_snapshot_continues_from_there(visits: Collection) -> None:
    visits.insert_many([visit(number) for number in range(20_000)])
    with manage(*PULL):
        until(lambda: badges())
        pause(ROUTE)
        seen = len(badges())
        assert 0 < seen < 20_000
        stays_as_it_is(badges)
        resume(ROUTE)
        until(lambda: len(badges()) == 20_000)
        assert badges() == documents(visits)


def test_a_single_pull_of_a_paused_route_is_refused(visits: Collection) -> None:
    visits.insert_one(visit(1))
    pause(ROUTE)
    once_is_refused(ROUTE, lambda: call_command("sync", "pull", "visit", "--once"))
    assert badges() == {}
    resume(ROUTE)
    call_command("sync", "pull", "visit", "--once")
    assert badges() == {1: "b1"}
