"""Schedules on several hosts, whose network is cut: where each process runs, and which faults there are.

MySQL and each member of the replica set have a host. So do the writers, as one web server, and two hosts of workers
have the relays and followers. The runner is on a host of its own, which is never cut off.
"""

from __future__ import annotations

from collections.abc import Callable

from sync.tests.chaos.schedule import Profile
from sync.tests.chaos.servers import ELECTION, MEMBERS, ThreeMembers
from tests.lab.network import Drop, Network, both_ways

DESK, MYSQL, WEB, WORKERS = "desk", "mysql", "web", ("work0", "work1")
HOSTS = (DESK, MYSQL, *MEMBERS, WEB, *WORKERS)


def host_of(slot: str) -> str:
    who, _, number = slot.partition(" ")
    if who == "writer":
        return WEB
    return WORKERS[int(number) % len(WORKERS)] if who in ("relay", "follower") else DESK


class Lab(ThreeMembers):
    """A replica set whose members are on hosts of a network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        super().__init__(ELECTION, network)

    def heal(self) -> None:
        self.network.heal()
        super().heal()

    def drops(self, kind: str, slot: str) -> set[Drop]:
        """What a fault of this kind loses now: it may depend on which member is the primary."""
        return CUTS[kind](self, host_of(slot))

    def split(self) -> tuple[str, list[str]]:
        """The hosts of the primary and of the other members. Without a primary, the first member stands for it."""
        try:
            place = self.members.index(self.primary())
        except RuntimeError:
            place = 0
        return MEMBERS[place], [host for host in MEMBERS if host != MEMBERS[place]]


def _primary_from_members(lab: Lab, _: str) -> set[Drop]:
    primary, others = lab.split()
    return both_ways([primary], others)


def _primary_from_all(lab: Lab, _: str) -> set[Drop]:
    primary, _others = lab.split()
    return both_ways([primary], [host for host in HOSTS if host not in (DESK, primary)])


def _primary_is_not_heard(lab: Lab, _: str) -> set[Drop]:
    primary, others = lab.split()
    return {(primary, other) for other in others}


def _primary_does_not_hear(lab: Lab, _: str) -> set[Drop]:
    primary, others = lab.split()
    return {(other, primary) for other in others}


def _secondary_from_all(lab: Lab, _: str) -> set[Drop]:
    _primary, others = lab.split()
    return both_ways(others[:1], [host for host in HOSTS if host not in (DESK, others[0])])


def _process_from_primary(lab: Lab, host: str) -> set[Drop]:
    return both_ways([host], [lab.split()[0]])


CUTS: dict[str, Callable[[Lab, str], set[Drop]]] = {
    "the primary is cut off from the members": _primary_from_members,
    "the primary is cut off from all": _primary_from_all,
    "the members do not hear the primary": _primary_is_not_heard,
    "the primary does not hear the members": _primary_does_not_hear,
    "a secondary is cut off from all": _secondary_from_all,
    "its host is cut off from the primary": _process_from_primary,
    "its host is cut off from MongoDB": lambda _, host: both_ways([host], MEMBERS),
    "its host is cut off from MySQL": lambda _, host: both_ways([host], [MYSQL]),
    "its host is cut off from all": lambda _, host: both_ways([host], [MYSQL, *MEMBERS]),
    "its host does not hear MongoDB": lambda _, host: {(member, host) for member in MEMBERS},
    "MongoDB does not hear its host": lambda _, host: {(host, member) for member in MEMBERS},
    "its host does not hear MySQL": lambda _, host: {(MYSQL, host)},
    "MySQL does not hear its host": lambda _, host: {(host, MYSQL)},
}
PROFILE = Profile(cuts=tuple(CUTS), jitter=(0.0,), row_jitter=(0.0,))
