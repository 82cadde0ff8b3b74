"""The follower of the binary log sees writes of embedded rows that bypass the ORM."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from pymongo.database import Database

from sync.binlog.tables import followed_tables
from sync.outbox.models import Change
from sync.tests.support import follow
from sync.tests.support.composed import World, expected, make_world, stored
from sync.tests.support.follow import sql
from sync.tests.support.waiting import wait_for
from sync.tests.zoo.models import Badge, Guest, Pen
from tests.servers import SERVERS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def world(mongo: Database) -> World:
    follow.grant()
    return make_world()


def rename_a_child(world: World) -> None:
    sql("UPDATE zoo_pen SET name = 'renamed'")


def move_a_child(world: World) -> None:
    sql("UPDATE zoo_pen SET shelter_id = %s", world.b.pk)


def insert_a_child(world: World) -> None:
    sql("INSERT INTO zoo_pen (shelter_id, name) VALUES (%s, 'raw')", world.b.pk)


def delete_children(world: World) -> None:
    sql("DELETE FROM zoo_plan")
    sql("DELETE FROM zoo_guest")
    sql("DELETE FROM zoo_pen")


def move_a_grandchild(world: World) -> None:
    other = Pen.objects.create(shelter=world.b, name="other")
    sql("UPDATE zoo_guest SET pen_id = %s", other.pk)


def delete_a_grandchild(world: World) -> None:
    sql("DELETE FROM zoo_guest")


def rename_a_town(world: World) -> None:
    sql("UPDATE zoo_town SET name = 'Wick'")


def link_and_unlink_badges(world: World) -> None:
    sql("DELETE FROM zoo_shelter_badges WHERE badge_id = %s", world.badges[0].pk)
    sql("INSERT INTO zoo_shelter_badges (shelter_id, badge_id) VALUES (%s, %s)", world.b.pk, world.badges[1].pk)


def rename_a_badge(world: World) -> None:
    sql("UPDATE zoo_badge SET name = CONCAT(name, '!')")


def several_at_once(world: World) -> None:
    with transaction.atomic():
        move_a_child(world)
        rename_a_town(world)
        delete_a_grandchild(world)


WRITES = [
    rename_a_child, move_a_child, insert_a_child, delete_children, move_a_grandchild, delete_a_grandchild,
    rename_a_town, link_and_unlink_badges, rename_a_badge, several_at_once,
]  # fmt: skip


def test_documents_follow_raw_sql(world: World, mongo: Database) -> None:
    with follow.following(and_relaying=True):
        for write in WRITES:
            before = stored(mongo)
            write(world)
            wait_for(lambda: stored(mongo) == expected(), write.__name__)
            assert stored(mongo) != before
            if not Pen.objects.exists():
                Pen.objects.create(shelter=world.a, name="again")
            Guest.objects.create(pen=Pen.objects.all()[0], name=write.__name__, arrived=9)


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_a_foreign_key_that_the_log_lacks_costs_a_backfill(world: World, mongo: Database, image: str) -> None:
    mariadb = SERVERS.mariadb
    if mariadb is None:
        pytest.skip("this run is not on MariaDB")
    with follow.following(and_relaying=True) as process:
        mariadb.sql(f"SET GLOBAL binlog_row_image = '{image}'")
        try:
            connection.close()  # the next one takes the new value
            move_a_child(world)
        finally:
            mariadb.sql("SET GLOBAL binlog_row_image = 'FULL'")
            connection.close()
        if image == "MINIMAL":
            process.until_it_says("cannot be read from the log")
        wait_for(lambda: stored(mongo) == expected())
        assert ("cannot be read from the log" in process.output) == (image == "MINIMAL")


def test_what_the_application_has_recorded_is_not_delivered_again(world: World, mongo: Database) -> None:
    with follow.following(recording=True):
        changes = {(change.key, change.via, change.until) for change in Change.objects.all()}
        world.pen.name = "by the ORM"
        world.pen.save()
        world.town.name = "Wick"
        world.town.save()
        Badge.objects.create(name="bronze")
        world.b.badges.add(world.badges[0])
        sql("UPDATE zoo_shelter SET name = 'the end' WHERE id = %s", world.b.pk)
        wait_for(lambda: Change.objects.filter(key=world.b.pk, claim="").exclude(model="").count() >= 1)
        found = [(change.key, change.via, change.until) for change in Change.objects.filter(model="zoo.shelter")]
    assert found.count((world.a.pk, "", "")) == 1
    assert found.count(("", "town", str(world.town.pk))) == 1
    assert changes is not None


def test_every_embedded_table_is_followed() -> None:
    labels = {name: {reading.label for reading in readings} for name, readings in followed_tables().items()}
    assert labels["zoo_pen"] == {"zoo.shelter"}
    assert labels["zoo_guest"] == labels["zoo_plan"] == {"zoo.shelter#pens"}
    assert labels["zoo_town"] == {"zoo.shelter#town"}
    assert labels["zoo_shelter_badges"] == {"zoo.shelter"}
    assert labels["zoo_badge"] == {"zoo.shelter#badges"}
    assert labels["zoo_shelter"] == {"zoo.shelter"}
