"""Explores a protocol's model exhaustively: every state that its steps can reach within the bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

S = TypeVar("S")


@dataclass(frozen=True)
class Result:
    states: int
    way: list[str] | None  # the steps to the first wrong state; None if there is none

    def __str__(self) -> str:
        return f"{self.states:,} states, {'wrong: ' + ' | '.join(self.way) if self.way is not None else 'clean'}"


def explore(
    start: S,
    steps: Callable[[S], Iterable[tuple[str, S]]],
    is_wrong: Callable[[S, bool], bool],
    same: Callable[[S], S] = lambda state: state,
) -> Result:
    """Visits every reachable state once, the nearest first.

    is_wrong: of a state, and whether it is an end: no step is possible. same: one state for all that behave alike.
    """
    came_from: dict[S, tuple[S, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        following = list(steps(state))
        if is_wrong(state, not following):
            return Result(len(came_from), _way(came_from, state))
        for what, reached in following:
            after = same(reached)
            if after not in came_from:
                came_from[after] = (state, what)
                queue.append(after)
    return Result(len(came_from), None)


def _way(came_from: dict[S, tuple[S, str] | None], state: S) -> list[str]:
    way = []
    while (before := came_from[state]) is not None:
        state, what = before
        way.append(what)
    return way[::-1]
