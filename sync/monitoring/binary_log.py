"""How close the follower's position is to the oldest binary log file, which the server purges next."""

from __future__ import annotations

from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

from sync.workers.models import Checkpoint
from sync.workers.routes import Route


class BinaryLog(NamedTuple):
    """before, after: the files that are older and newer than the follower's. kept_for: seconds; 0 is for ever."""

    before: int
    after: int
    kept_for: float


def binary_log(using: str) -> BinaryLog | None:
    """Return where the follower will continue, whether or not one runs.

    None: no follower has saved a position, or the user of this process may not list the files.
    """
    position = Checkpoint.objects.using(using).filter(name=Route.FOLLOW_BINLOG).values_list("state", flat=True).first()
    if not position or not position.get("file"):
        return None
    # Imported here: the library is slow to load, and a project without a follower may not have it.
    from sync.binlog.server import Server

    try:
        server = Server(using)
        files, kept_for = server.files(), server.kept_for()
    except ImproperlyConfigured:
        return None
    before = files.index(position["file"]) if position["file"] in files else -1  # -1: it was purged
    return BinaryLog(max(before, 0), len(files) - before - 1, kept_for)
