"""Wakes the relays of this machine at once, so that an idle relay can wait for long between two looks at its queue.

Each relay has a socket in a directory of its user. A process that records a change sends an empty datagram to every
socket of its queue. Nothing depends on it: a relay that misses one, or runs on another machine or as another user,
finds the change at its next look.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR

from django.db import connections

from sync.mapping.fields import new_object_id

PRIVATE = 0o700


@functools.cache
def _directory() -> Path | None:
    """The directory of this user's sockets; None if the system has none, or if it could be another user's."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    path = Path(tempfile.gettempdir()) / f"sync-{os.getuid()}"
    with contextlib.suppress(OSError):
        path.mkdir(mode=PRIVATE, exist_ok=True)
        found = path.lstat()
        if S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o777 == PRIVATE:
            return path
    return None


@functools.cache
def _prefix(queue: str, using: str) -> str:
    """Starts the names of the sockets of one queue in one database."""
    settings = connections[using].settings_dict
    names = [str(settings[name]) for name in ("ENGINE", "HOST", "PORT", "NAME")]
    return hashlib.sha256("\0".join([*names, queue]).encode()).hexdigest()[:16]


@contextlib.contextmanager
def bell(queue: str, using: str) -> Iterator[socket.socket | None]:
    """A socket that can be read after `ring` for this queue, until `silence`. None if the system offers none."""
    directory = _directory()
    if directory is None:
        yield None
        return
    path = directory / f"{_prefix(queue, using)}-{new_object_id()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        try:
            made.bind(str(path))
        except OSError:  # a read-only file system, or a path that is too long for a socket
            yield None
            return
        try:
            yield made
        finally:
            path.unlink(missing_ok=True)


def silence(made: socket.socket) -> None:
    """Reads what has arrived. Call it before a look at the queue: what is recorded after the look rings again."""
    with contextlib.suppress(BlockingIOError):
        while True:
            made.recv(1)


def ring(queue: str, using: str) -> None:
    """Wakes the queue's relays, after a commit. Never waits and never raises."""
    directory = _directory()
    if directory is None:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        prefix = _prefix(queue, using)
        for name in os.listdir(directory):
            if name.startswith(prefix):
                _send(sender, directory / name)


def _send(sender: socket.socket, path: Path) -> None:
    try:
        sender.sendto(b"", str(path))
    except ConnectionRefusedError:  # its relay was killed
        with contextlib.suppress(OSError):
            path.unlink()
    except OSError:
        pass  # full: it will wake anyway
