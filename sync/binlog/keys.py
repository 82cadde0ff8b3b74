"""The keys that a transaction wrote and did not record: any number of them, in bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

IN_MEMORY = 2000  # keys; more are moved to a temporary file

Key = tuple[str, str]  # the model's label, and the row's key as text


class Unrecorded:
    """The set of keys written, the set of keys recorded, and their difference.

    Large sets move to a temporary SQLite database, an unnamed file that disappears with its connection.
    """

    def __init__(self) -> None:
        self._sets: dict[str, set[Key]] = {"written": set(), "recorded": set()}
        self._file: sqlite3.Connection | None = None

    def wrote(self, keys: Iterable[Key]) -> None:
        self._add("written", keys)

    def recorded(self, keys: Iterable[Key]) -> None:
        self._add("recorded", keys)

    def _add(self, name: str, keys: Iterable[Key]) -> None:
        self._sets[name].update(keys)
        if len(self._sets[name]) > IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = sqlite3.connect("", check_same_thread=False, isolation_level=None)
            self._file.execute("PRAGMA journal_mode = OFF")
            for name in self._sets:
                self._file.execute(f"CREATE TABLE {name} (model, key, PRIMARY KEY (model, key)) WITHOUT ROWID")
        for name, keys in self._sets.items():
            self._file.execute("BEGIN")
            self._file.executemany(f"INSERT OR IGNORE INTO {name} VALUES (?, ?)", keys)  # noqa: S608 (our own names)
            self._file.execute("COMMIT")
            keys.clear()

    def __bool__(self) -> bool:
        """Returns whether any key was written."""
        return self.is_large or bool(self._sets["written"])

    @property
    def is_large(self) -> bool:
        """Whether the keys were too many to keep in memory."""
        return self._file is not None

    def after(self, last: Key | None) -> Iterator[Key]:
        """Yields the keys written and not recorded, in order, starting after `last`."""
        if self._file is None:
            keys = sorted(self._sets["written"] - self._sets["recorded"])
            yield from (key for key in keys if last is None or key > last)
            return
        self._spill()
        yield from self._file.execute(
            "SELECT model, key FROM written WHERE (model, key) > (?, ?) "
            "EXCEPT SELECT model, key FROM recorded ORDER BY model, key",
            last or ("", ""),
        )
