"""A file target gets one line per delivery, in the order of each row's states, even if workers are killed."""

import dataclasses
import fcntl
import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from pymongo.database import Database

from sync.checks.mirrored import check_settings
from sync.mapping.registry import Target, queues
from sync.mongodb.errors import Unavailable
from sync.monitoring.status import status
from sync.outbox import file_target
from sync.outbox.capture import record
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.zoo.models import Keeper
from sync.workers import heartbeat

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a" * 24
QUEUE = "file:keepers.jsonl"


@pytest.fixture
def archive(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Delivers keepers to MongoDB and to the returned file."""
    settings.SYNC_FILES, settings.SYNC_INLINE, settings.SYNC_TIMEOUT = str(tmp_path), False, 0.5
    targets = ("", "file:keepers.jsonl")
    monkeypatch.setattr(Keeper, "mirror", dataclasses.replace(Keeper.mirror, targets=targets))
    return tmp_path / "keepers.jsonl"


def drain() -> None:
    """Deliver the changes of both queues."""
    Relay("").drain()
    Relay(QUEUE).drain()


def lines(archive: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read_text().splitlines()]


def test_each_delivery_and_each_delete_is_a_line(archive: Path, mongo: Database) -> None:
    keeper = Keeper.objects.create(id=KEY, name="Ann")
    drain()
    keeper.name = "Bea"
    keeper.save()
    drain()
    keeper.delete()
    drain()
    first, second, third = lines(archive)
    assert first.keys() == {"op", "model", "key", "document", "at"}
    assert (first["op"], first["model"], first["key"]) == ("upsert", "zoo.keeper", KEY)
    assert first["document"] == {"_id": {"$oid": KEY}, "name": "Ann"}
    assert second["document"]["name"] == "Bea"
    assert third == {"op": "delete", "model": "zoo.keeper", "key": KEY, "at": third["at"]}
    assert third["at"].endswith("Z")
    assert not Change.objects.filter(queue=QUEUE).exists(), "deletes do not settle in a file"


def test_a_change_with_another_spelling_of_the_key_is_not_a_delete(archive: Path, mongo: Database) -> None:
    Keeper.objects.create(id=KEY, name="Ann")
    Change.objects.all().delete()
    with transaction.atomic():
        record(Keeper, [KEY.upper()], inline=False)
    drain()
    [line] = lines(archive)
    assert (line["op"], line["key"]) == ("upsert", KEY)


def test_a_backfill_writes_every_row(archive: Path, mongo: Database) -> None:
    for number in range(5):
        Keeper.objects.create(name=f"Ann {number}")
    Change.objects.all().delete()
    call_command("sync", "backfill", "zoo.keeper@file:keepers.jsonl", stdout=StringIO())
    assert sorted(line["document"]["name"] for line in lines(archive)) == [f"Ann {number}" for number in range(5)]


def test_an_incomplete_line_is_removed_and_its_change_delivered(archive: Path, mongo: Database) -> None:
    Keeper.objects.create(id=KEY, name="Ann")
    drain()
    with archive.open("a") as file:
        file.write('{"op": "upsert", "model": "zoo.keeper", "key": "b')  # as a killed worker leaves it
    Keeper.objects.create(id="b" * 24, name="Bea")
    drain()
    assert [line["key"] for line in lines(archive)] == [KEY, "b" * 24]


def test_a_worker_that_is_killed_while_it_writes_loses_nothing(
    archive: Path, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child process writes half of its lines and exits while it holds the file's lock and its claims."""
    for number in range(20):
        Keeper.objects.create(name=f"Ann {number}")
    write = os.write

    def die(file: int, data: bytes) -> int:
        write(file, data[: len(data) // 2])
        os._exit(9)

    connections.close_all()
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(file_target.os, "write", die)
        Relay(QUEUE).drain()
        os._exit(0)
    _, result = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(result) == 9
    assert not archive.read_bytes().endswith(b"\n"), "the last line is incomplete"
    Change.objects.filter(queue=QUEUE).update(claim="", due_at="2020-01-01T00:00Z")  # the lease has expired
    drain()
    assert sorted({line["document"]["name"] for line in lines(archive)}) == sorted(f"Ann {n}" for n in range(20))
    assert not Change.objects.filter(queue=QUEUE).exists()


def test_two_relays_keep_the_lines_of_each_key_in_order(archive: Path, mongo: Database) -> None:
    keepers = [Keeper.objects.create(name="0") for _ in range(5)]
    done = threading.Event()

    def relay() -> None:
        try:
            while not done.is_set():
                Relay(QUEUE, batch=2).drain()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=relay) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 20):
        for keeper in keepers:
            Keeper.objects.filter(pk=keeper.pk).update(name=str(number))
    done.set()
    for thread in threads:
        thread.join()
    drain()
    written: dict[str, list[int]] = {}
    for line in lines(archive):
        written.setdefault(line["key"], []).append(int(line["document"]["name"]))
    assert written.keys() == {keeper.pk for keeper in keepers}
    assert all(states == sorted(states) and states[-1] == 19 for states in written.values())


@pytest.fixture
def full_disk(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A directory on a 64 kB file system."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no permission to mount a small file system")
    settings.SYNC_FILES = str(folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_delays_only_the_file(archive: Path, full_disk: Path, mongo: Database) -> None:
    (full_disk / "ballast").write_bytes(b"x" * 60_000)
    for number in range(100):
        Keeper.objects.create(name=f"Ann {number:040}")
    Relay("").drain()
    assert mongo.zoo_keepers.count_documents({}) == 100
    with pytest.raises(Unavailable, match="No space left on device"):
        Relay(QUEUE).drain()
    assert (full_disk / "keepers.jsonl").read_bytes() == b"", "the incomplete write is rolled back"
    assert Change.objects.filter(queue=QUEUE, failed=False).count() == 100
    (full_disk / "ballast").unlink()
    drain()
    assert len(lines(full_disk / "keepers.jsonl")) == 100


def test_status_names_a_missing_directory(
    archive: Path, settings: Any, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    settings.SYNC_FILES = str(archive.parent / "nowhere")
    Keeper.objects.create(id=KEY, name="Ann")
    relay = Relay(QUEUE, interval=0.01)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not (notes := [worker.note for worker in status().workers if worker.note]):
            assert time.monotonic() < deadline, "no heartbeat has told it"
            relay.stop.wait(0.05)
        assert notes == [f"The file {settings.SYNC_FILES}/keepers.jsonl cannot be written: No such file or directory"]
    finally:
        relay.stop.set()
        thread.join()
    out = StringIO()
    call_command("sync", "status", stdout=out)
    assert "relay for file:keepers.jsonl: none running; start one: manage.py sync relay" in out.getvalue()


def test_a_file_that_cannot_be_written_does_not_delay_another(
    archive: Path, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = ("", QUEUE, "file:second.jsonl")
    monkeypatch.setattr(Keeper, "mirror", dataclasses.replace(Keeper.mirror, targets=targets))
    archive.mkdir()
    Keeper.objects.create(id=KEY, name="Ann")
    assert queues() == ["", QUEUE, "file:second.jsonl"]
    Relay("file:second.jsonl").drain()
    with pytest.raises(Unavailable):
        Relay(QUEUE).drain()
    assert [line["key"] for line in lines(archive.with_name("second.jsonl"))] == [KEY]


def test_a_document_can_contain_a_uuid(archive: Path, mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    number = uuid.UUID(int=7)
    monkeypatch.setattr(Keeper, "to_document", lambda keeper: {"_id": keeper.pk, "number": number})
    Keeper.objects.create(id=KEY, name="Ann")
    Relay(QUEUE).drain()
    [line] = lines(archive)
    assert line["document"]["number"]["$binary"]["subType"] == "04"


def test_changes_are_kept_while_another_process_holds_the_lock(archive: Path, mongo: Database) -> None:
    Keeper.objects.create(id=KEY, name="Ann")
    with archive.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="another process holds its lock"):
            Relay(QUEUE).drain()
    drain()
    assert [line["key"] for line in lines(archive)] == [KEY]


def test_a_new_file_is_created_after_a_rename(archive: Path, mongo: Database) -> None:
    Keeper.objects.create(id=KEY, name="Ann")
    drain()
    archive.rename(archive.with_suffix(".1"))
    Keeper.objects.create(id="b" * 24, name="Bea")
    drain()
    assert [line["key"] for line in lines(archive)] == ["b" * 24]


def test_only_the_owner_can_access_a_new_file(archive: Path, mongo: Database) -> None:
    Keeper.objects.create(id=KEY, name="Ann")
    drain()
    assert archive.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("elsewhere"), Path.mkdir])
def test_only_a_regular_file_is_written_to(archive: Path, mongo: Database, make: Any) -> None:
    make(archive)
    Keeper.objects.create(id=KEY, name="Ann")
    with pytest.raises(Unavailable, match="cannot be written"):
        Relay(QUEUE).drain()
    assert Change.objects.filter(queue=QUEUE, failed=False).count() == 1
    assert not (archive.parent / "elsewhere").exists()


def test_only_the_row_that_cannot_become_a_document_is_rejected(
    archive: Path, mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_document(keeper: Keeper) -> dict[str, Any]:
        if keeper.name == "bad":
            raise ValueError("bad keeper")
        return {"_id": keeper.pk, "name": keeper.name}

    monkeypatch.setattr(Keeper, "to_document", to_document)
    Keeper.objects.create(id=KEY, name="bad")
    Keeper.objects.create(id="b" * 24, name="Bea")
    Relay(QUEUE).drain()
    assert [line["key"] for line in lines(archive)] == ["b" * 24]
    [change] = Change.objects.filter(queue=QUEUE)
    assert (change.key, "bad keeper" in change.error) == (KEY, True)


def test_verify_skips_a_file_target(archive: Path, mongo: Database) -> None:
    Keeper.objects.create(id=KEY, name="Ann")
    drain()
    out = StringIO()
    call_command("sync", "verify", "zoo.keeper", stdout=out)
    assert "file:" not in out.getvalue()
    assert Target(Keeper, "file:keepers.jsonl").kind.readable is False


@pytest.mark.parametrize(
    "name", ["file:", "file:../keepers", "file:a/b", "file:/etc/passwd", "file:..", "file:x:/..", "file:" + "x" * 60]
)
def test_a_system_check_rejects_an_invalid_file_name(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings.SYNC_FILES = str(tmp_path)
    monkeypatch.setattr(Keeper, "mirror", dataclasses.replace(Keeper.mirror, targets=("", name)))
    assert [error.id for error in check_settings(None) if error.id == "sync.E028"] == ["sync.E028"]


def test_a_system_check_rejects_a_file_target_without_a_directory(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "mirror", dataclasses.replace(Keeper.mirror, targets=("", "file:keepers.jsonl")))
    settings.SYNC_FILES = ""
    [error] = [error for error in check_settings(None) if error.id == "sync.E028"]
    assert "SYNC_FILES is not set" in error.msg


def test_a_system_check_rejects_an_alias_with_the_name_of_a_kind_of_target(settings: Any, mongo: Database) -> None:
    settings.SYNC_TARGETS = {"file": "mongodb://127.0.0.1/x"}
    assert "sync.E001" in {error.id for error in check_settings(None)}
