"""Helpers that process many items in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 1000  # keys in one statement: below SQLite's limit on parameters, and at most a packet of 100 kB


def chunks(items: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    """Yields `items` in pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def bisect(
    items: Sequence[T],
    act: Callable[[Sequence[T]], R],
    refuse: Callable[[T, Exception], None],
    is_refusal: Callable[[Exception], bool],
) -> Iterator[R]:
    """Calls `act` with all items, or, if one of them makes it fail, with halves of them, and so on. Yields the results.

    refuse: is called with each item that fails alone, and the exception. is_refusal: whether an exception can be an
    item's fault; any other exception is raised.
    """
    try:
        result = act(items)
    except Exception as error:
        if not is_refusal(error):
            raise
        if len(items) == 1:
            refuse(items[0], error)
            return
    else:
        yield result
        return
    half = len(items) // 2
    for part in (items[:half], items[half:]):
        yield from bisect(part, act, refuse, is_refusal)
