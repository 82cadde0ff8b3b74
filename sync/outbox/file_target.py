"""Files as targets: "file:accounts.jsonl" gets a line of JSON for each delivery, for archives and debugging.

    {"op": "upsert", "model": "finance.account", "key": "...", "document": {...}, "at": "2026-11-26T12:00:00.000000Z"}

If the row is gone, `op` is `delete` and there is no document. The document is canonical Extended JSON.

1. A worker locks the file (flock), reads the rows, appends a line for each and syncs them to the disk. So the lines of
a key have the order of the row's states, whatever other workers do, and a deletion need not settle.
2. Only then are the changes removed. A state of a row may have several lines, but always has at least one.
3. An incomplete last line was being written when its worker was killed. The next worker removes it; its change is still
there.

The lock works between processes of one machine. Rename the file to rotate it; the next delivery creates a new one.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Error

from sync.core import conf
from sync.mapping.extended_json import canonical_json
from sync.mapping.kinds import TargetKind
from sync.mapping.registry import Target, label
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.outbox.mongo_writer import Outcome, State, explain, read_documents, to_pk

BLOCK = 65536  # bytes read at a time, to find the start of the last line
LOOK = 0.01  # seconds between two attempts to lock


class FileTarget(TargetKind):
    """A file of JSON lines in the directory SYNC_FILES."""

    readable = False

    def queue(self, name: str) -> str:
        """Each file has its own queue."""
        return name

    def writer(self) -> FileWriter:
        return FileWriter()

    def check(self, targets: Sequence[Target]) -> list[CheckMessage]:
        errors: list[CheckMessage] = []
        if not conf.FILES:
            labels = " and ".join(target.label for target in targets)
            hint = "Set SYNC_FILES to a directory that the relays can write to."
            errors.append(Error(f"{labels} is written to a file, but SYNC_FILES is not set.", hint, id="sync.E028"))
        for target in targets:
            name = _name(target)
            is_too_long = len(target.queue) > (Change._meta.get_field("queue").max_length or 0)
            if not name or Path(name).name != name or name.startswith(".") or is_too_long:
                problem = f"{target.label} names no file, or one with too long a name: {name!r}."
                hint = "Write a short file's name without a directory: file:accounts.jsonl."
                errors.append(Error(problem, hint, obj=target.model, id="sync.E028"))
        return errors


class FileWriter:
    """A Writer that appends to files."""

    exclusive = False

    def confirmed(self, target: Target, tokens: Mapping[str, str]) -> set[str]:
        """Nothing is delivered inline, so there is nothing to confirm."""
        return set()

    def deliver(self, target: Target, keys: Collection[str], using: str, token: str) -> Outcome:
        """Appends the rows in their current state. Raises Unavailable if the file cannot be written."""
        outcome = Outcome()
        path = Path(conf.FILES) / _name(target)
        try:
            with _locked(path) as file:
                documents = read_documents(target, list(keys), using, outcome)
                lines = [_line(target, key, documents, outcome) for key in keys if key not in outcome.states]
                _append(file, b"".join(lines))
        except OSError as error:
            raise Unavailable(f"The file {path} cannot be written: {error.strerror}") from error
        return outcome


def _name(target: Target) -> str:
    return target.name.partition(":")[2]


def _line(target: Target, key: str, documents: Mapping[str, Any], outcome: Outcome) -> bytes:
    """Empty if the row has no document; the outcome has the reason."""
    try:
        document = documents.get(key)
        canonical = str(to_pk(target.model, key))  # a key can be written in several ways
        line: dict[str, Any] = {"op": "delete" if document is None else "upsert", "model": label(target.model)}
        line["key"] = canonical
        if document is not None:
            line["document"] = document
        line["at"] = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        text = canonical_json(line)
    except Exception as error:  # what JSON's library cannot write; the other rows continue
        outcome.reject(key, explain(error))
        return b""
    outcome.states[key] = State.DELIVERED
    return text.encode() + b"\n"


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open and locked; created if it does not exist. Raises OSError."""
    give_up = time.monotonic() + conf.TIMEOUT
    while (file := _open(path)) is None:
        if time.monotonic() > give_up:
            raise TimeoutError(None, "another process holds its lock")
        time.sleep(LOOK)
    try:
        yield file
    finally:
        os.close(file)


def _open(path: Path) -> int | None:
    """None if another process has locked it, or renamed it before it was locked."""
    is_new = not path.exists()
    # Only the owner may read the rows, and a link could lead out of the directory.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(None, "it is not a regular file")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(path, file):
            if is_new:
                _keep_name(path.parent)
            return file
    except BlockingIOError:
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def _keep_name(directory: Path) -> None:
    """After a power failure a new file is found only if its directory is on the disk, too."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _is_at(path: Path, file: int) -> bool:
    """Whether the name still refers to this file, which may have been renamed before it was locked."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _append(file: int, data: bytes) -> None:
    """Writes all of it, or nothing, and syncs it to the disk. Raises OSError."""
    size = _end_of_lines(file)
    os.ftruncate(file, size)
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _end_of_lines(file: int) -> int:
    """The offset of the end of the last complete line."""
    end = os.fstat(file).st_size
    while end:
        begin = max(end - BLOCK, 0)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
