"""Hosts on one machine: network namespaces with an address each, joined by a bridge. Any two can be cut apart.

Nothing of it can be reached from outside, and nothing in it reaches out: the bridge is in a namespace of its own.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

CLONE_NEWNET = 0x40000000
SUBNET = "10.77.0"  # the same in every network: they do not see each other
Drop = tuple[str, str]  # what the first host sends to the second is lost


class Network:
    """Exists during a `with` block. name: unique on this machine. hosts: their names, also unique.

    Raises OSError if this process may not create namespaces.
    """

    def __init__(self, name: str, hosts: Sequence[str]) -> None:
        self.name = name
        self.addresses = {host: f"{SUBNET}.{number}" for number, host in enumerate(hosts, start=1)}
        self.dropped: set[Drop] = set()

    def __enter__(self) -> Self:
        switch = self.namespace("switch")
        try:
            self._run("ip", "netns", "add", switch)
            self._run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
            self._run("ip", "-n", switch, "link", "set", "bridge", "up")
            for number, host in enumerate(self.addresses, start=1):
                self._plug_in(host, switch, f"port{number}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _plug_in(self, host: str, switch: str, port: str) -> None:
        here = self.namespace(host)
        self._run("ip", "netns", "add", here)
        pair = ["eth0", "netns", here, "type", "veth", "peer", "name", port, "netns", switch]
        self._run("ip", "link", "add", *pair)
        self._run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
        self._run("ip", "-n", here, "address", "add", f"{self.addresses[host]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._run("ip", "-n", here, "link", "set", device, "up")

    def close(self) -> None:
        """Remove all hosts. Their processes must have ended: a namespace exists as long as one runs in it."""
        for host in ("switch", *self.addresses):
            subprocess.run(["ip", "netns", "delete", self.namespace(host)], capture_output=True, check=False)

    def namespace(self, host: str) -> str:
        return f"{self.name}-{host}"

    def prefix(self, host: str) -> list[str]:
        """What runs a command on this host."""
        return ["ip", "netns", "exec", self.namespace(host)]

    def enter(self, host: str) -> None:
        """Move this process to a host. Call it before the process has other threads or connections."""
        enter(self.namespace(host))

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """This thread, and what it starts, is on a host during the block. Connections stay where they were opened."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self.enter(host)
            yield
        finally:
            _enter(before)
            os.close(before)

    def cut(self, drops: Iterable[Drop]) -> None:
        """Lose what these hosts send to each other, until they are restored."""
        for sender, receiver in set(drops) - self.dropped:
            self._filter("-A", sender, receiver)
            self.dropped.add((sender, receiver))

    def restore(self, drops: Iterable[Drop]) -> None:
        for sender, receiver in set(drops) & self.dropped:
            self._filter("-D", sender, receiver)
            self.dropped.remove((sender, receiver))

    def heal(self) -> None:
        self.restore(self.dropped)

    def slow(self, host: str, kilobits: int | None) -> None:
        """Let a host send at most so many kilobits per second; None ends that."""
        device = ["dev", "eth0", "root"]
        subprocess.run([*self.prefix(host), "tc", "qdisc", "del", *device], capture_output=True, check=False)
        if kilobits:
            shape = ["tbf", "rate", f"{kilobits}kbit", "burst", "16kb", "latency", "400ms"]
            self._run(*self.prefix(host), "tc", "qdisc", "add", *device, *shape)

    def _filter(self, action: str, sender: str, receiver: str) -> None:
        rule = ["INPUT", "-s", self.addresses[sender], "-j", "DROP"]
        self._run(*self.prefix(receiver), "iptables", "-w", action, *rule)

    @staticmethod
    def _run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def both_ways(some: Iterable[str], others: Iterable[str]) -> set[Drop]:
    """The drops that separate each of some hosts from each of the others."""
    far = list(others)
    return {drop for one in some for other in far if one != other for drop in ((one, other), (other, one))}


def enter(namespace: str) -> None:
    """Move this thread, and what it starts, to a network namespace."""
    handle = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
    try:
        _enter(handle)
    finally:
        os.close(handle)


def _enter(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
