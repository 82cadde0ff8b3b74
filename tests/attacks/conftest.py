"""Tells at the end what was attacked."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

COVERED: dict[str, set[str]] = defaultdict(set)


@pytest.fixture
def covered() -> dict[str, set[str]]:
    """By kind (addresses, fields, exports, roles) the names of what an attack has reached."""
    return COVERED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if COVERED:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in sorted(COVERED.items()))
        terminalreporter.write_line(f"Attacked: {counts}")
