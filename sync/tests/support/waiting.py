"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from typing import Any


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come true in time"
        time.sleep(0.05)
