"""The part of the slow tests that a run has: see `script/test`."""

import pytest


def slow_part(config: pytest.Config) -> tuple[int, int]:
    """The part of --slow-part, from 0, and how many parts there are."""
    part, parts = config.getoption("--slow-part").split("/")
    return int(part), int(parts)
