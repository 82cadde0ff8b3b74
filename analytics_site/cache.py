"""A file cache in which rate limits count exactly."""

from __future__ import annotations

import fcntl
import os
import pickle
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.filebased import FileBasedCache

CROWDED = 0.75  # of MAX_ENTRIES: if more than this remains after removing expired entries, half of it is removed


class FileCache(FileBasedCache):
    """Django's, with an atomic `add` for all threads and processes of one machine.

    With Django's, two processes can both find a key missing and both add it. Here a writer holds a lock on a file, and
    reading deletes nothing, because an expired entry may have been replaced since it was opened.
    """

    is_atomic = True  # `add`, for all processes

    def __init__(self, dir: str, params: dict[str, Any]) -> None:
        super().__init__(dir, params)
        self._thread = threading.local()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if getattr(self._thread, "is_writing", False):
            yield
            return
        self._createdir()  # type: ignore[attr-defined]
        with open(os.path.join(self._dir, "lock"), "ab") as file:  # type: ignore[attr-defined]
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            self._thread.is_writing = True
            try:
                yield
            finally:
                self._thread.is_writing = False

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        with self._exclusive():
            return super().add(key, value, timeout, version)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        with self._exclusive():
            super().set(key, value, timeout, version)

    def _is_expired(self, f: Any) -> bool:
        try:
            expires = pickle.load(f)  # noqa: S301  (our own file, in a folder that only we can write to)
        except EOFError:
            return True
        return expires is not None and expires < time.time()

    def _cull(self) -> None:
        """Removes expired entries first: made-up names must not push out counters that are still needed."""
        files = self._list_cache_files()  # type: ignore[attr-defined]
        if len(files) < self._max_entries:
            return
        live = [file for file in files if not self._remove_expired(file)]
        if len(live) > CROWDED * self._max_entries:
            for file in random.sample(live, len(live) // 2):
                self._delete(file)  # type: ignore[attr-defined]

    def _remove_expired(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            with open(name, "rb") as file:
                is_expired = self._is_expired(file)
            return is_expired and self._delete(name)  # type: ignore[attr-defined]
        return True
