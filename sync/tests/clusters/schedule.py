"""A schedule: which writers use which node, and which node lags when. One seed determines all of it."""

from __future__ import annotations

import random
from dataclasses import dataclass

FORCED = ("relay", "inline")  # the kind of delivery that is held back on a lagging node


@dataclass(frozen=True)
class Lag:
    """After `pause` seconds, `node` applies nothing for `seconds`."""

    pause: float
    node: int
    seconds: float


@dataclass(frozen=True)
class Schedule:
    """Everything that a seed determines.

    forced: a delivery is held back until its node lags behind another one, which writes the same key; else empty.
    """

    seed: int
    forced: str
    nodes: tuple[int, ...]  # in a forced schedule the one that is held, then the one that overtakes it
    keys: tuple[str, ...]
    hot: int
    seconds: float
    inline: float
    deletes: float
    lags: tuple[Lag, ...]

    def __str__(self) -> str:
        if self.forced:
            return f"{self.forced} delivery held on node {self.nodes[0]}, overtaken on node {self.nodes[1]}"
        lags = [f"  after {lag.pause:.2f} s node {lag.node} lags for {lag.seconds:.2f} s" for lag in self.lags]
        line = f"{len(self.keys)} keys of which {self.hot} are hot, {self.seconds:.2f} s, inline {self.inline:.0%}"
        return "\n".join([f"{line}, deletes {self.deletes:.0%}", *lags])


def draw(seed: int) -> Schedule:
    """Return the schedule of this seed. Every fourth is forced."""
    chance = random.Random(seed)
    forced = FORCED[seed // 4 % 2] if seed % 4 == 0 else ""
    seconds = chance.uniform(0.5, 1.0)
    lags = [
        Lag(chance.uniform(0, 0.2), chance.randrange(3), chance.uniform(0.02, 0.2)) for _ in range(chance.randint(0, 4))
    ]
    return Schedule(
        seed=seed,
        forced=forced,
        nodes=tuple(chance.sample(range(3), 3)),
        # New keys for each schedule, so that a later one cannot repair an earlier failure.
        keys=tuple(f"{seed:016x}{number:08x}" for number in range(1 if forced else chance.randint(5, 20))),
        hot=chance.choice((1, 2, 3)),
        seconds=seconds,
        inline=chance.choice((0.3, 0.7, 1.0)),
        deletes=chance.choice((0.0, 0.1, 0.25)),
        lags=tuple(lags),
    )
