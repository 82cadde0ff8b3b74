"""Fixtures for the tests of sync."""

from __future__ import annotations

import pytest

from sync.workers.heartbeat import INLINE_HEARTBEAT


@pytest.fixture
def fresh_heartbeat() -> None:
    """Resets the heartbeat: the process has not delivered anything inline, and has no worker row."""
    INLINE_HEARTBEAT.reset()
