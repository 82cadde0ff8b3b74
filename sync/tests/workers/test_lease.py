"""A lease has one holder at a time, is free at once if its holder is dead, and only its holder can write."""

import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from sync.core import conf
from sync.core.clock import database_now
from sync.tests.support.processes import finished, python, script
from sync.tests.zoo.models import Keeper
from sync.workers import lease
from sync.workers.checkpoint import TableCheckpoint
from sync.workers.lease import Busy, LeaseLost, Paused, acquire
from sync.workers.models import Checkpoint
from sync.workers.shutdown import StopEvent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ROUTE = "pull:zoo.visit"
PAST = "2020-01-01T00:00Z"


def worker() -> TableCheckpoint:
    return TableCheckpoint(ROUTE, "a route", "default")


def holder_of_the_lease() -> TableCheckpoint:
    checkpoint = worker()
    assert checkpoint.take() is None
    return checkpoint


def row() -> dict[str, Any]:
    """The stored row of the checkpoint."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT owner, holder, state, paused FROM sync_checkpoint WHERE name = %s", [ROUTE])
        owner, holder, state, paused = cursor.fetchone()
    return {"owner": owner, "holder": holder, "state": json.loads(state), "paused": bool(paused)}


def seconds_left() -> float:
    return (Checkpoint.objects.get().leased_until - database_now("default")).total_seconds()


def expire() -> None:
    assert Checkpoint.objects.update(leased_until=PAST)


def keepers() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM zoo_keeper ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def write(checkpoint: TableCheckpoint, name: str, state: dict[str, Any], *, save_first: bool = True) -> None:
    """Does what every worker does: writes the data and its state in one transaction."""
    with transaction.atomic():
        if save_first:
            checkpoint.save(state)
        Keeper.objects.create(name=name)
        if not save_first:
            checkpoint.save(state)


def test_a_free_lease_is_taken_and_lasts_as_long_as_the_setting_says() -> None:
    checkpoint = holder_of_the_lease()
    assert row()["owner"] == checkpoint.owner
    assert re.fullmatch(rf"process {os.getpid()} on .+", row()["holder"])
    assert conf.LEASE - 5 < seconds_left() <= conf.LEASE


def test_only_its_holder_can_take_a_held_lease_again() -> None:
    checkpoint = holder_of_the_lease()
    held = worker().take()
    assert held is not None
    assert (held.owner, held.holder) == (checkpoint.owner, f"process {os.getpid()} on {os.uname().nodename}")
    assert row()["owner"] == checkpoint.owner
    assert checkpoint.take() is None


def test_an_expired_lease_can_be_taken() -> None:
    holder_of_the_lease()
    expire()
    new = holder_of_the_lease()
    assert row()["owner"] == new.owner
    assert seconds_left() > 0


def test_only_one_of_several_processes_takes_the_lease() -> None:
    Checkpoint.objects.create(name=ROUTE)
    taken, barrier = [], threading.Barrier(4)

    def take() -> None:
        checkpoint = worker()
        barrier.wait()
        try:
            if checkpoint.take() is None:
                taken.append(checkpoint.owner)
        finally:
            connection.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [row()["owner"]]


def test_the_lease_of_a_process_that_was_killed_is_taken_at_once() -> None:
    with script("sync.tests.support.scripts.hold", ROUTE) as process:
        process.until(lambda: Checkpoint.objects.exclude(owner="").exists(), "it has the lease")
        assert worker().take() is not None, "the process lives"
        process.kill()
    assert seconds_left() > conf.LEASE / 2, "the lease has not expired"
    new = holder_of_the_lease()
    assert row()["owner"] == new.owner


@pytest.mark.parametrize("machine", ["0123456789abcdef", ""], ids=["another machine", "an unknown machine"])
def test_the_lease_of_a_process_on_another_machine_can_be_taken_only_after_it_has_expired(machine: str) -> None:
    process = finished(python("-V"))  # a process id that no process of this machine has
    holder_of_the_lease()
    Checkpoint.objects.update(owner=f"{'a' * 24} {process.pid} {machine}")
    assert worker().take() is not None
    expire()
    assert worker().take() is None


def test_another_process_namespace_or_boot_counts_as_another_machine(monkeypatch: Any) -> None:
    def machine() -> str:
        return lease._machine.__wrapped__()

    here = machine()
    assert len(here) == 16
    with monkeypatch.context() as patch:
        patch.setattr(Path, "readlink", lambda path: Path("pid:[1]"))
        assert machine() not in ("", here)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda path, encoding: "another boot\n")
        assert machine() not in ("", here)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "readlink", lambda path: (_ for _ in ()).throw(FileNotFoundError()))
        assert machine() == "", "there is no /proc"


@pytest.mark.parametrize("save_first", [True, False])
def test_a_holder_whose_lease_was_taken_writes_nothing(save_first: bool) -> None:
    old = holder_of_the_lease()
    write(old, "first", {"at": 1})
    expire()
    new = holder_of_the_lease()
    write(new, "second", {"at": 2})
    with pytest.raises(LeaseLost, match="another process took over, because this one did not renew its lease"):
        write(old, "third", {"at": 3}, save_first=save_first)
    for act in (old.load, old.is_paused, old.require_running):
        with pytest.raises(LeaseLost):
            act()
    assert keepers() == ["first", "second"]
    assert (row()["owner"], row()["state"]) == (new.owner, {"at": 2})


@pytest.mark.parametrize("save_first", [True, False])
def test_a_paused_route_writes_nothing_and_continues_from_its_checkpoint(save_first: bool) -> None:
    checkpoint = holder_of_the_lease()
    write(checkpoint, "first", {"at": 1})
    assert Checkpoint.objects.set_paused(ROUTE, "default", paused=True)
    with pytest.raises(Paused, match=f"{ROUTE} is paused. Resume it: manage.py sync resume {ROUTE}"):
        write(checkpoint, "second", {"at": 2}, save_first=save_first)
    assert keepers() == ["first"]
    assert row() == {**row(), "owner": checkpoint.owner, "state": {"at": 1}, "paused": True}
    assert Checkpoint.objects.set_paused(ROUTE, "default", paused=False)
    write(checkpoint, "second", {"at": 2})
    assert (keepers(), row()["state"]) == (["first", "second"], {"at": 2})


def test_a_paused_route_keeps_its_lease() -> None:
    checkpoint = holder_of_the_lease()
    Checkpoint.objects.set_paused(ROUTE, "default", paused=True)
    expire()
    assert checkpoint.is_paused()
    assert seconds_left() > conf.LEASE / 2
    assert worker().take() is not None
    with pytest.raises(Paused):
        checkpoint.require_running()


def test_a_save_extends_the_lease() -> None:
    checkpoint = holder_of_the_lease()
    expire()
    checkpoint.save({"at": 1})
    assert seconds_left() > conf.LEASE / 2


def test_a_released_lease_is_free() -> None:
    holder_of_the_lease().release()
    assert (row()["owner"], row()["holder"]) == ("", "")
    assert worker().take() is None


def test_a_former_holder_cannot_release_the_lease_of_another() -> None:
    old = holder_of_the_lease()
    expire()
    new = holder_of_the_lease()
    old.release()
    assert row()["owner"] == new.owner
    assert seconds_left() > 0


def test_acquire_raises_busy_if_the_lease_is_extended_and_waits_otherwise() -> None:
    checkpoint = holder_of_the_lease()
    stop = threading.Event()

    def extend() -> None:
        while not stop.wait(0.05):
            checkpoint.is_paused()
        connection.close()

    thread = threading.Thread(target=extend)
    thread.start()
    try:
        with pytest.raises(Busy, match=f"a route is held by another process: process {os.getpid()} on"):
            acquire(worker(), StopEvent())
    finally:
        stop.set()
        thread.join()
    threading.Timer(0.5, expire_elsewhere).start()
    new = worker()
    acquire(new, StopEvent())
    assert row()["owner"] == new.owner


def expire_elsewhere() -> None:
    """Expires the lease from another thread, which has its own connection."""
    try:
        expire()
    finally:
        connection.close()


def test_waiting_for_a_lease_can_be_stopped() -> None:
    checkpoint = holder_of_the_lease()
    stop = StopEvent()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    acquire(worker(), stop)
    assert time.monotonic() - began < 5
    assert row()["owner"] == checkpoint.owner
