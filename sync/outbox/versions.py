"""Step 2 of delivery: the versions of documents, read when it starts, or ahead while the transaction commits."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymongo

from sync.core import conf
from sync.mapping.registry import Target
from sync.mongodb.client import collection

THREADS = 8  # that read ahead in a process; more saves at once read when their delivery starts


class Seen:
    """What was read of one document: its version, and the condition that it is unchanged."""

    def __init__(self, document: dict[str, Any]) -> None:
        sync = document.get("_sync")
        version = sync.get("v") if isinstance(sync, dict) else None
        self.is_ours = isinstance(version, int)
        self.version = version if isinstance(version, int) else 0
        self.token = sync.get("by") if isinstance(sync, dict) else None
        self.unchanged: dict[str, Any]
        if self.is_ours:
            self.unchanged = {"_sync.v": version}
        else:  # another program has written it; the next write makes it the mirror's
            self.unchanged = {"_sync": {"$eq": sync} if "_sync" in document else {"$exists": False}}


def read_versions(target: Target, ids: Sequence[Any]) -> dict[Any, Seen]:
    """What was read of the existing documents, by `_id`."""
    if not ids:
        return {}
    found = collection(target).find({"_id": {"$in": list(ids)}}, {"_sync": 1}, batch_size=len(ids) + 1)
    return {document["_id"]: Seen(document) for document in found}


class ReadAhead:
    """Versions that a thread reads while the caller's transaction commits.

    That is early enough for any delivery after the commit, because a version has to be read before the row, and the
    row is read after the commit. If the document changes meanwhile, the delivery conflicts and reads again.
    """

    def __init__(self, target: Target, ids: Sequence[Any]) -> None:
        self.target = target
        self.ids = ids
        self.reading = _threads().submit(_read_in_time, target, ids)

    def versions(self) -> Mapping[Any, Seen | None]:
        """What was read, with None for a missing document; empty if it could not be read."""
        self.reading.cancel()  # has no effect once the thread has begun
        try:
            found = self.reading.result(timeout=conf.INLINE_TIMEOUT)
        except Exception:  # the delivery reads again, and meets the same error
            return {}
        return {_id: found.get(_id) for _id in self.ids}


def _read_in_time(target: Target, ids: Sequence[Any]) -> dict[Any, Seen]:
    with pymongo.timeout(conf.INLINE_TIMEOUT):
        return read_versions(target, ids)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "read versions ahead")


os.register_at_fork(after_in_child=_threads.cache_clear)
