"""Hosts on one machine reach each other, until their network is cut."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sync.tests.support.waiting import wait_for
from tests.lab.network import Network, both_ways

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
PORT = "9000"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(f"test-{os.getpid()}", ("a", "b", "c")) as found:
        servers = [
            subprocess.Popen([*found.prefix(host), sys.executable, "-m", "tests.scripts.echo", address, PORT])
            for host, address in found.addresses.items()
        ]
        wait_for(lambda: all(reaches(found, host, host) for host in found.addresses), "all hosts answer")
        yield found
        for server in servers:
            server.kill()
            server.wait()


def seconds(network: Network, sender: str, receiver: str, size: int = 4) -> float | None:
    """How long it takes to send bytes there and back; None if they do not arrive."""
    client = [*network.prefix(sender), sys.executable, "-m", "tests.scripts.echo"]
    begun = time.monotonic()
    done = subprocess.run([*client, network.addresses[receiver], PORT, str(size)], check=False)
    return time.monotonic() - begun if done.returncode == 0 else None


def reaches(network: Network, sender: str, receiver: str) -> bool:
    return seconds(network, sender, receiver) is not None


def test_hosts_reach_each_other_and_nothing_else(network: Network) -> None:
    assert reaches(network, "a", "b")
    assert reaches(network, "b", "a")
    routes = subprocess.run([*network.prefix("a"), "ip", "route"], capture_output=True, text=True, check=True).stdout
    assert "default" not in routes


def test_a_cut_separates_two_hosts_and_no_others(network: Network) -> None:
    network.cut(both_ways(["a"], ["b"]))
    assert not reaches(network, "a", "b")
    assert not reaches(network, "b", "a")
    assert reaches(network, "a", "c")
    assert reaches(network, "c", "b")
    network.heal()
    assert reaches(network, "a", "b")
    assert not network.dropped


def test_a_cut_can_have_one_direction(network: Network) -> None:
    network.cut({("a", "b")})
    network.cut({("a", "b"), ("a", "c")})
    assert not reaches(network, "a", "b")
    network.restore({("a", "b")})
    assert reaches(network, "a", "b")
    assert network.dropped == {("a", "c")}


def test_a_host_can_be_slow(network: Network) -> None:
    size = 100_000  # bytes: four seconds at 200 kilobits
    network.slow("a", 200)
    took = seconds(network, "a", "b", size)
    assert took is not None
    assert took > 2
    network.slow("a", None)
    assert reaches(network, "a", "b")


def test_nothing_of_it_is_left() -> None:
    name = f"gone-{os.getpid()}"
    with pytest.raises(ZeroDivisionError), Network(name, ("a", "b")):
        raise ZeroDivisionError
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert name not in listed
