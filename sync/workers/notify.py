"""Tells the supervisor of a worker process how it is, by the datagrams of sd_notify(3).

systemd sets NOTIFY_SOCKET for a unit with `Type=notify`, and WATCHDOG_USEC if it has `WatchdogSec`. Without them
nothing is sent. Only the first process of a command speaks: `processes` removes the variables from the others.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Protocol

from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
CHECKS = 8  # in the time that the watchdog allows between two pings


class Turning(Protocol):
    """A loop; `turned` is when it last made progress, by time.monotonic()."""

    turned: float


def wait(stop: StopEvent, loops: Sequence[Turning]) -> None:
    """Reports READY, waits until `stop` is set, and reports STOPPING.

    Meanwhile it pings the watchdog each time that every loop has made progress since the last ping. A loop that waits
    for an unreachable server makes progress, because it tries again; one that hangs does not.
    """
    send("READY=1")
    allowed = _watchdog()
    pinged = time.monotonic()
    while not stop.wait(allowed / CHECKS if allowed else None):
        if all(loop.turned > pinged for loop in loops):
            pinged = time.monotonic()
            send("WATCHDOG=1")
    send("STOPPING=1")


def send(state: str) -> None:
    """Sends a datagram to NOTIFY_SOCKET, if it is set. Never waits and never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name that is in no file system
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
    except OSError as error:
        _complain(state, str(error))


@functools.cache
def _complain(state: str, why: str) -> None:
    """Logs the failure once, however often it repeats."""
    logger.warning("Could not tell the supervisor %s: %s", state, why)


def _watchdog() -> float:
    """The seconds that the supervisor allows between two pings; 0 if it expects none from this process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    with contextlib.suppress(ValueError):
        return max(int(os.environ.get("WATCHDOG_USEC", "")), 0) / 1e6
    return 0.0
