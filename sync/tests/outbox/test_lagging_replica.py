"""Delivery reads the primary while a router sends an application's reads to a MariaDB replica that lags behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from pymongo.database import Database

from sync.core import topology
from sync.mapping.registry import Target
from sync.outbox import backfill
from sync.outbox.relay import Relay
from sync.tests.support.composed import World, expected, make_world, stored
from sync.tests.zoo.models import Guest, Pen, Shelter, Town
from sync.verification import verify
from tests.servers import SERVERS, MariaDB, Replica

pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
REPLICA = "replica"


class ReadsTheReplica:
    """A router as applications with a read replica use it."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return None if model._meta.app_label == "sync" else REPLICA

    def allow_relation(self, *args: Any, **hints: Any) -> bool:
        return True


@pytest.fixture(scope="module")
def replica(django_db_setup: None) -> Iterator[Replica]:
    if SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")
    server = Replica(SERVERS.place("replica"))
    server.start()
    server.follow(SERVERS.mariadb, connections["default"].settings_dict["NAME"])
    yield server
    server.stop()


@contextmanager
def reading_the_replica(settings: Any) -> Iterator[None]:
    settings.DATABASE_ROUTERS = [f"{__name__}.ReadsTheReplica"]
    try:
        yield
    finally:
        settings.DATABASE_ROUTERS = []


@pytest.fixture
def alias(replica: Replica, django_db_blocker: Any) -> Iterator[None]:
    """The replica as a database of the project."""
    connections.settings[REPLICA] = {**connections["default"].settings_dict, "PORT": replica.port}
    with django_db_blocker.unblock():
        connections[REPLICA].ensure_connection()
    yield
    connections[REPLICA].close()
    del connections[REPLICA]
    del connections.settings[REPLICA]


@pytest.fixture
def world(alias: None, replica: Replica, mariadb: MariaDB, settings: Any, mongo: Database[dict[str, Any]]) -> World:
    """Rows that the replica has, and that are changed on the primary alone."""
    settings.SYNC_INLINE = False
    replica.sql("START SLAVE SQL_THREAD")
    made = make_world()
    replica.stop_applying(mariadb)
    with reading_the_replica(settings):
        change(made)
        assert Pen.objects.get(pk=made.pen.pk).name == "first", "the replica does not lag"
        assert Shelter.objects.get(pk=made.b.pk).name == "B"
    return made


def change(world: World) -> None:
    """Changes rows of every table, of which some concern documents by a fan-out only."""
    world.b.name = "renamed"
    world.b.save()
    world.pen.shelter = world.b
    world.pen.name = "moved"
    world.pen.save()
    world.town.name = "Wick"
    world.town.save()
    world.plan.text = "round"
    world.plan.save()
    world.badges[0].name = "lead"
    world.badges[0].save()
    world.guests[1].delete()
    Guest.objects.create(pen=world.pen, name="new", arrived=99)
    Shelter.objects.create(name="new", town=Town.objects.create(name="Oban"))


def test_the_topology_names_both_servers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "_known", {})  # what this process found a minute ago was true before the replica was
    assert topology.topology("default").kind == topology.PRIMARY
    assert topology.topology(REPLICA).kind == topology.READ_ONLY
    assert "set DATABASE_URL to the primary" in str(topology.topology(REPLICA))


def test_changes_and_fan_outs_are_delivered_from_the_primary(
    world: World, settings: Any, mongo: Database[dict[str, Any]]
) -> None:
    with reading_the_replica(settings):
        Relay().drain()
    assert stored(mongo) == expected()
    assert len(stored(mongo)) == 3


def test_inline_delivery_reads_the_primary(world: World, settings: Any, mongo: Database[dict[str, Any]]) -> None:
    settings.SYNC_INLINE = True
    with reading_the_replica(settings):
        world.a.name = "inline"
        world.a.save()
    document = mongo.zoo_shelters.find_one({"name": "inline"})
    assert document["town"]["name"] == "Wick"
    assert document["pens"] == []


def test_a_backfill_reads_the_primary(world: World, settings: Any, mongo: Database[dict[str, Any]]) -> None:
    with reading_the_replica(settings):
        Relay().drain()
        mongo.zoo_shelters.delete_many({})
        backfill.plan(Target(Shelter), "default")
        Relay().drain()
    assert stored(mongo) == expected()
    assert len(stored(mongo)) == 3


def test_verify_compares_with_the_primary(world: World, settings: Any, mongo: Database[dict[str, Any]]) -> None:
    with reading_the_replica(settings):
        Relay().drain()
        run = verify.verify(Target(Shelter))
        assert (run.compared, run.found, run.pending) == (3, 0, 0), run.mismatches
        mongo.zoo_shelters.update_one({"name": "renamed"}, {"$set": {"name": "B"}})  # as the replica still has it
        assert verify.verify(Target(Shelter)).found == 1
