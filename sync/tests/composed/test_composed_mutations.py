"""Each safeguard of composed documents does harm if it is missing, in one fixed order of events.

Each test runs twice: without the mutation every document equals its rows at rest, with it one is stale.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from pymongo.database import Database

from sync.core.clock import DatabaseNow
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill, fan_out, mongo_writer
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.composed import World, expected, make_world, stored
from sync.tests.support.interleaving import between_row_and_write
from sync.tests.support.mutating import apply_mutation, mutated  # noqa: F401  (a fixture)
from sync.tests.support.transactions import Transaction
from sync.tests.zoo.models import Guest, Pen, Shelter, Town

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
several_writers = pytest.mark.usefixtures("needs_several_writers")


@pytest.fixture
def needs_several_writers() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")


@pytest.fixture
def world(mongo: Database, settings: Any) -> World:
    settings.SYNC_INLINE = False
    return make_world()


def is_stale(mongo: Database) -> bool:
    """Whether a document differs from its rows although nothing is left to be delivered."""
    Relay().drain()
    assert not Change.objects.exists()
    return stored(mongo) != expected()


@mutated("old-parent-forgotten")
def test_a_move_concerns_the_parent_that_the_row_leaves(
    mutation: str, world: World, mongo: Database, apply: Any
) -> None:
    apply(mutation)
    Pen.objects.update(shelter=world.b)
    assert is_stale(mongo) == bool(mutation)


@mutated("new-parent-forgotten")
def test_a_move_concerns_the_parent_that_the_row_joins(
    mutation: str, world: World, mongo: Database, apply: Any
) -> None:
    apply(mutation)
    Pen.objects.update(shelter=world.b)
    assert is_stale(mongo) == bool(mutation)


@several_writers
@mutated("old-parent-unlocked")
def test_the_parent_that_a_row_leaves_is_read_under_the_rows_lock(
    mutation: str, world: World, mongo: Database, apply: Any
) -> None:
    """Two transactions move the same row, and the first one's documents are delivered before the second commits."""
    third = Shelter.objects.create(name="C")
    stale = Pen.objects.get()
    stale.shelter = third
    apply(mutation)
    second = Transaction(stale.save)
    with Transaction(lambda: Pen.objects.update(shelter=world.b)):
        second.start()
        second.has_acted.wait(0.3)
    with second:
        Relay().drain()
    assert is_stale(mongo) == bool(mutation)


@several_writers
@mutated("second-hop-inside")
def test_the_parents_of_a_row_further_down_are_looked_up_after_the_commit(
    mutation: str, world: World, mongo: Database, apply: Any
) -> None:
    """A grandchild changes while its parent moves: the grandparent that it joins would stay stale permanently."""
    apply(mutation)
    with Transaction(lambda: Guest.objects.filter(name="Ivy").update(name="Eve")):
        Pen.objects.filter(pk=world.pen.pk).update(shelter=world.b)
        Relay().drain()
    assert is_stale(mongo) == bool(mutation)


@pytest.fixture
def changes_before_the_version(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Right before a relay reads a version, a grandchild changes and another relay delivers it."""

    def install() -> None:
        read_versions, done = mongo_writer.read_versions, []

        def interrupted(*arguments: Any) -> Any:
            if not done:
                done.append(True)
                Guest.objects.all().delete()
                Relay().drain()
            return read_versions(*arguments)

        monkeypatch.setattr(mongo_writer, "read_versions", interrupted)

    return install


@mutated("row-before-version")
def test_the_version_is_read_before_all_rows(
    mutation: str, world: World, mongo: Database, apply: Any, changes_before_the_version: Any
) -> None:
    Pen.objects.update(name="second")
    apply(mutation)
    changes_before_the_version()
    assert is_stale(mongo) == bool(mutation)


@mutated("embedded-rows-first")
def test_every_row_is_read_after_the_version(
    mutation: str, world: World, mongo: Database, apply: Any, changes_before_the_version: Any
) -> None:
    Pen.objects.update(name="second")
    apply(mutation)
    changes_before_the_version()
    assert is_stale(mongo) == bool(mutation)


@mutated("comparison-off")
def test_a_document_is_written_only_if_its_version_is_the_one_that_was_read(
    mutation: str, world: World, mongo: Database, apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay has read the embedded rows when they change, and another relay delivers them."""

    def change_and_deliver() -> None:
        Guest.objects.all().delete()
        Relay().drain()

    Pen.objects.update(name="second")
    apply(mutation)
    between_row_and_write(monkeypatch, change_and_deliver)
    assert is_stale(mongo) == bool(mutation)


def fail_to_deliver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker takes a page of a fan-out, and MongoDB does not respond."""

    def fail(*_: Any, **__: Any) -> Any:
        raise Unavailable("MongoDB does not respond")

    with monkeypatch.context() as patched:
        patched.setattr(mongo_writer, "deliver", fail)
        with pytest.raises(Unavailable):
            backfill.work()


@mutated("fan-out-removed-first")
def test_a_fan_out_is_removed_after_its_documents_are_delivered(
    mutation: str, world: World, mongo: Database, apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Town.objects.update(name="Oban")
    apply(mutation)
    fail_to_deliver(monkeypatch)
    assert is_stale(mongo) == bool(mutation)


@mutated("fan-out-removed-first")
def test_fan_outs_delivered_together_are_removed_after_their_documents(
    mutation: str, world: World, mongo: Database, apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Shelter.objects.create(name="C", town=Town.objects.create(name="Elgin"))
    Relay().drain()
    Town.objects.update(name="Oban")
    apply(mutation)
    fail_to_deliver(monkeypatch)
    assert is_stale(mongo) == bool(mutation)


@mutated("fan-outs-claimed-late")
def test_fan_outs_delivered_together_are_claimed_before_their_documents_are_looked_up(
    mutation: str, world: World, mongo: Database, apply: Any
) -> None:
    Shelter.objects.create(name="C", town=Town.objects.create(name="Elgin"))
    Relay().drain()
    Town.objects.update(name="Oban")
    apply(mutation)
    assert is_stale(mongo) == bool(mutation)


@mutated("cursor-first")
def test_the_cursor_passes_a_document_after_it_is_delivered(
    mutation: str, world: World, mongo: Database, apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Town.objects.update(name="Oban")
    apply(mutation)
    fail_to_deliver(monkeypatch)
    assert is_stale(mongo) == bool(mutation)


@mutated("absorbs-when-begun")
def test_a_fan_out_that_has_begun_absorbs_no_other(
    mutation: str, world: World, mongo: Database, apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documents behind its cursor have the row's former state."""
    monkeypatch.setattr(fan_out, "PAGE", 1)
    Town.objects.update(name="Oban")
    backfill.work()
    Town.objects.update(name="Bute")
    apply(mutation)
    backfill.work()  # the one that is due for longer
    assert is_stale(mongo) == bool(mutation)


@mutated("claim-ignored")
def test_a_worker_whose_lease_has_expired_does_not_move_the_cursor(
    mutation: str, world: World, mongo: Database, apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is frozen after it delivered a page. The row changes again, and another worker takes the fan-out over,
    absorbs the new one and fails."""
    monkeypatch.setattr(fan_out, "PAGE", 1)
    Town.objects.update(name="Oban")
    apply(mutation)
    deliver, done = mongo_writer.deliver, []

    def deliver_and_freeze(*arguments: Any, **more: Any) -> Any:
        outcome = deliver(*arguments, **more)
        if not done:
            done.append(True)
            Town.objects.update(name="Bute")
            Change.objects.exclude(claim="").update(due_at=DatabaseNow() - timedelta(seconds=1))
            fail_to_deliver(monkeypatch)
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(mongo_writer, "deliver", deliver_and_freeze)
        backfill.work()
    assert is_stale(mongo) == bool(mutation)
