"""Fixtures for the tests of the portal as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def made(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """One world (tests.world) for all tests of a file, each of which runs in a savepoint of its own."""
    from tests.world import world  # its models need Django to be set up

    with django_db_blocker.unblock(), world() as made:
        yield made
