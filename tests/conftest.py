"""Fixtures for the tests of the portal as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def made(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """One world (tests.world) for all tests of a file. Each test runs in its own savepoint."""
    from tests.world import world  # imports models, so Django must be set up first

    with django_db_blocker.unblock(), world() as made:
        yield made
