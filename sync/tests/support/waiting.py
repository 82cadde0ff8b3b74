"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], Any], what: str = "it comes true", seconds: float = 60) -> None:
    """Fails when the condition does not come true in time; `what` says in the failure what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in {seconds} s not: {what}"
        time.sleep(0.02)
