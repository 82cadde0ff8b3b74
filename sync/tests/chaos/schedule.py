"""A schedule: the writes and the faults with their times. One seed determines all of it."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import Any

# The mirror's settings. Times are so short that one second contains several leases and a settling period.
LEASE, SETTLE = 0.3, 0.65
SETTINGS = {
    "SYNC_LEASE": LEASE, "SYNC_SETTLE": SETTLE, "SYNC_TIMEOUT": 0.25, "SYNC_INLINE_TIMEOUT": 0.2,
    "SYNC_BREAKER_RESET": 0.1, "SYNC_CONFIRM": 0.25,
}  # fmt: skip

PATIENCE = float(
    os.environ.get("CHAOS_PATIENCE", "30")
)  # seconds within which all changes must be delivered after the faults
STAMPS = 10**6  # per writer, so that each of its states has a unique one
ONE, THREE, HOSTS = "one member", "three members", "several hosts"

# How often each fault is drawn in an ordinary schedule. Those of whole servers are rare because they are slow.
FAULTS = {
    "kill relay": 3.0, "kill writer": 3.0, "freeze relay": 3.0, "freeze writer": 2.0,
    "cut mongo": 2.0, "lose mongo": 1.5, "lose mongo answers": 3.0, "hold mongo writes": 2.0,
    "delay mongo requests": 1.5, "delay mongo answers": 1.0, "delay mysql answers": 1.0, "cut mysql": 0.7,
    "lose mysql answers": 0.7, "freeze mongod": 0.4, "kill mongod": 0.1, "kill mysql": 0.1,
}  # fmt: skip
# The faults of followers, which have them in addition.
FOLLOWER_FAULTS = {
    "kill follower": 3.0, "freeze follower": 3.0, "cut mongo": 1.0, "lose mongo answers": 2.0, "hold mongo writes": 2.0,
    "delay mongo requests": 1.0, "delay mysql answers": 1.0, "cut mysql": 0.7, "lose mysql answers": 0.7,
}  # fmt: skip
FAILOVERS = ("step down", "kill primary", "freeze primary", "cut off primary")


@dataclass(frozen=True)
class Profile:
    """What the random schedules concentrate on; the default is a mix of everything."""

    faults: dict[str, float] = field(default_factory=lambda: FAULTS)
    most_faults: int = 4
    seconds: tuple[float, float] = (0.25, 0.5)
    keys: tuple[int, int] = (3, 12)
    three: float = 1 / 40  # the share of schedules with a replica set of three members
    failovers: tuple[str, ...] = FAILOVERS
    late: float = 0.3  # the share of frozen or held processes that resume only after everything else is delivered
    deletes: float = 0.25  # the share of operations that delete
    inline: tuple[float, ...] = (0.0, 0.3, 0.7, 1.0)
    relays: tuple[int, ...] = (1, 2, 2, 3)
    hot: tuple[int, ...] = (1, 2, 3, 4)  # how many keys are written at a time; a key is never written again later
    jitter: tuple[float, ...] = (0.0, 0.0, 0.01, 0.04)  # seconds of delay to and from MongoDB
    row_jitter: tuple[float, ...] = (0.0, 0.0, 0.0, 0.02)  # seconds of delay of MySQL's responses to relays
    extras: float = 0.12  # the share of schedules with a backfill, and the share with a verify
    following: float = (
        0.3  # the share of schedules with two followers of the binary log, and writes that bypass the ORM
    )
    raw: tuple[float, ...] = (0.2, 0.5, 1.0)  # in these, the share of such writes
    embedding: float = 0.3  # the share of schedules that also write rows which other documents embed
    embedded: tuple[float, ...] = (0.3, 0.6, 1.0)  # in these, the share of such writes
    cuts: tuple[str, ...] = ()  # of the network between several hosts, on which all schedules then run; see lab.py


@dataclass(frozen=True)
class Fault:
    """A fault of the process in `slot` ("" for a server), `at` seconds after the start, for `seconds`."""

    at: float
    kind: str
    slot: str = ""
    seconds: float = 0.0
    late: bool = False

    def __str__(self) -> str:
        text = f"{self.at:.3f} s: {self.kind} {self.slot}".rstrip()
        return text + (f" for {self.seconds:.2f} s" if self.seconds else "") + (", ended last" if self.late else "")


@dataclass(frozen=True)
class Schedule:
    """Everything that a seed determines."""

    seed: int
    servers: str
    keys: tuple[str, ...]
    hot: int
    seconds: float
    writers: int
    relays: int
    inline: float
    deletes: float
    jitter: float
    row_jitter: float
    backfill: bool
    verify: bool
    followers: int  # of which one works, and the other takes over
    raw: float
    embedded: float
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        extras = [name for name in ("backfill", "verify") if getattr(self, name)]
        lines = [
            f"{self.servers}, {len(self.keys)} keys of which {self.hot} are hot, {self.seconds:.2f} s",
            f"  {self.writers} writers, inline {self.inline:.0%}, deletes {self.deletes:.0%}, {self.relays} relays, "
            f"jitter up to {self.jitter * 1000:.0f} ms (rows {self.row_jitter * 1000:.0f} ms) {' '.join(extras)}",
            f"  {self.followers} followers, {self.raw:.0%} of the writes in SQL, {self.embedded:.0%} of embedded rows",
        ]
        return "\n".join([*lines, *(f"  {fault}" for fault in self.faults)])


def draw(seed: int, profile: Profile) -> Schedule:
    """Return the schedule of this seed."""
    chance = random.Random(seed)
    servers = THREE if chance.random() < profile.three else ONE
    if profile.cuts:
        servers = HOSTS
    writers, relays = chance.choice((2, 2, 3)), chance.choice(profile.relays)
    seconds = chance.uniform(*profile.seconds) if servers == ONE else 1.0
    slots = _slots("writer", writers) + _slots("relay", relays)
    number = chance.randint(1, profile.most_faults)
    faults = [_fault(chance, profile, profile.faults, seconds, slots) for _ in range(number)]
    # Drawn apart, so that a seed means the same with and without followers.
    apart = random.Random(f"followers of {seed}")
    followers = 2 if apart.random() < profile.following else 0
    for _ in range(apart.randint(1, 3) if followers else 0):
        faults.append(_fault(apart, profile, FOLLOWER_FAULTS, seconds, _slots("follower", followers)))
    beside = random.Random(f"embedded rows of {seed}")
    embedded = beside.choice(profile.embedded) if beside.random() < profile.embedding else 0.0
    if servers != ONE:
        faults = [fault for fault in faults if fault.kind.startswith(("kill ", "freeze ")) and fault.slot]
    if servers == THREE:
        faults.append(Fault(chance.uniform(0.2, 0.5), chance.choice(profile.failovers), "", 0.4))
    if servers == HOSTS:
        seconds = chance.uniform(1.0, 2.0)
        faults += [
            _cut(chance, profile, seconds, slots + _slots("follower", followers)) for _ in range(chance.randint(1, 3))
        ]
    return Schedule(
        seed=seed,
        servers=servers,
        # New keys for each schedule, so that a later one cannot repair an earlier failure.
        keys=tuple(f"{seed:016x}{number:08x}" for number in range(chance.randint(*profile.keys))),
        hot=chance.choice(profile.hot),
        seconds=seconds,
        writers=writers,
        relays=relays,
        inline=chance.choice(profile.inline),
        deletes=profile.deletes,
        jitter=chance.choice(profile.jitter),
        row_jitter=chance.choice(profile.row_jitter),
        backfill=chance.random() < profile.extras,
        # What the followers have not read yet is a difference.
        verify=chance.random() < profile.extras and not followers,
        followers=followers,
        raw=apart.choice(profile.raw) if followers else 0.0,
        embedded=embedded,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _slots(who: str, count: int) -> list[str]:
    return [f"{who} {number}" for number in range(count)]


def _cut(chance: random.Random, profile: Profile, seconds: float, slots: list[str]) -> Fault:
    kind = chance.choice(profile.cuts)
    slot = chance.choice(slots) if "its host" in kind else ""
    return Fault(chance.uniform(0, seconds), kind, slot, chance.uniform(0.2, 2.0))


def _fault(
    chance: random.Random, profile: Profile, faults: dict[str, float], seconds: float, slots: list[str]
) -> Fault:
    kind = chance.choices(list(faults), list(faults.values()))[0]
    words: dict[str, Any] = {"at": chance.uniform(0, seconds), "kind": kind}
    if kind.startswith(("kill", "freeze")):
        who = kind.split()[1]
        words["slot"] = chance.choice([slot for slot in slots if slot.startswith(who)] or [""])
        if kind.startswith("freeze"):
            words["seconds"] = chance.uniform(LEASE * 0.5, LEASE * 2)
            words["late"] = who != "mongod" and chance.random() < profile.late
    else:
        words["slot"] = chance.choice(slots)
        words["late"] = kind.startswith("hold") and chance.random() < profile.late
        longest = {"delay": 0.15, "hold": LEASE * 2}.get(kind.split()[0], 0.3)
        words["seconds"] = chance.uniform(longest / 10, longest)
    return Fault(**words)
