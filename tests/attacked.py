"""A pytest plugin: the tests in tests/attacks record what they attacked, and the run prints the counts at the end."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

COVERED: dict[str, set[str]] = defaultdict(set)


@pytest.fixture
def covered() -> dict[str, set[str]]:
    """The names that the attacks have reached, by kind: addresses, exports, fields, filters, forms, races, roles."""
    return COVERED


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)  # on a worker of pytest-xdist
    if output is not None:
        output["attacked"] = {kind: sorted(names) for kind, names in COVERED.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for kind, names in getattr(node, "workeroutput", {}).get("attacked", {}).items():
        COVERED[kind].update(names)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if COVERED:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in sorted(COVERED.items()))
        terminalreporter.write_line(f"Attacked: {counts}")
