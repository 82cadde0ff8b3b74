"""A schedule: which writers use which node, and which node lags when. One seed determines all of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

FORCED = ("relay", "inline")  # the kind of delivery that is held back on a lagging node


@dataclass(frozen=True)
class Lag:
    """After `pause` seconds, `node` applies nothing for `seconds`."""

    pause: float
    node: int
    seconds: float


@dataclass(frozen=True)
class Fault:
    """After `pause` seconds, `node` fails in this way for `seconds`."""

    pause: float
    kind: str
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
    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        if self.forced:
            return f"{self.forced} delivery held on node {self.nodes[0]}, overtaken on node {self.nodes[1]}"
        lags = [f"  after {lag.pause:.2f} s node {lag.node} lags for {lag.seconds:.2f} s" for lag in self.lags]
        lags += [
            f"  after {each.pause:.2f} s node {each.node}: {each.kind} for {each.seconds:.2f} s" for each in self.faults
        ]
        line = f"{len(self.keys)} keys of which {self.hot} are hot, {self.seconds:.2f} s, inline {self.inline:.0%}"
        return "\n".join([f"{line}, deletes {self.deletes:.0%}", *lags])


# What happens to a node, and how often.
FAULTS = {"cut off": 3.0, "not heard": 1.0, "does not hear": 1.0, "site cut off": 2.0, "leaves": 1.0, "killed": 1.0}


def draw(seed: int, *, cut: bool = False) -> Schedule:
    """Return the schedule of this seed. Every fourth is forced. cut: nodes fail instead, each on a host of its own."""
    chance = random.Random(seed)
    forced = FORCED[seed // 4 % 2] if seed % 4 == 0 and not cut else ""
    seconds = chance.uniform(0.5, 1.0) if not cut else chance.uniform(1.5, 3.0)
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
        lags=() if cut else tuple(lags),
        faults=tuple(_faults(random.Random(f"faults of {seed}"))) if cut else (),
    )


def _faults(chance: random.Random) -> Iterator[Fault]:
    for _ in range(chance.randint(1, 2)):
        kind = chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        yield Fault(chance.uniform(0.1, 0.8), kind, chance.randrange(3), chance.uniform(0.3, 3.0))
