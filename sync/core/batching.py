"""Working through many items a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

CHUNK = 1000  # keys in one statement: below SQLite's limit on parameters, and a packet of 100 kB at most


def chunks(items: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    """`items` in pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
