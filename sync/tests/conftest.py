"""Fixtures for the tests of sync."""

from __future__ import annotations

import pytest

from sync.workers.heartbeat import INLINE_HEARTBEAT


@pytest.fixture
def fresh_heart() -> None:
    """This process has delivered nothing inline yet, and has no row of a worker."""
    INLINE_HEARTBEAT.reset()
