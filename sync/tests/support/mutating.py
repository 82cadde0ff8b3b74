"""Tests that run twice, with a mutation of the real code and without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sync.tests.chaos import mutations


def mutated(name: str) -> Any:
    return pytest.mark.parametrize("mutation", ["", name])


@pytest.fixture(name="apply")
def apply_mutation(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that applies a mutation to this process until the test ends."""

    def now(mutation: str) -> None:
        monkeypatch.setattr(mutations, "put", monkeypatch.setattr)
        if mutation:
            mutations.apply(mutation)

    return now
