"""Every test that THREAT_MODEL.md names exists."""

from __future__ import annotations

import re

import pytest

from tests.servers import ROOT

pytestmark = pytest.mark.quick

MODEL = (ROOT / "THREAT_MODEL.md").read_text()
# The tests named in the last column of the threat tables.
NAMED = {
    name for row in re.findall(r"^\|.+\|.+\| (`.+`) \|$", MODEL, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
}


def test_every_named_test_exists() -> None:
    files = [
        path
        for app in ("accounts", "audit", "exports", "finance", "sync", "tests")
        for path in (ROOT / app).rglob("test_*.py")
    ]
    there = {name for path in files for name in re.findall(r"^def test_(\w+)\(", path.read_text(), re.MULTILINE)}
    assert NAMED - there == set()


def test_every_threat_names_a_test() -> None:
    threats = MODEL.partition("## Threats")[2].partition("## Not covered")[0]
    rows = [row for row in re.findall(r"^\|.+\|$", threats, re.MULTILINE) if not row.startswith(("|---", "| Threat |"))]
    assert len(rows) > 15
    assert [row for row in rows if not re.search(r"\| `\w+`[^|]*\|$", row)] == []
    assert len(NAMED) > 40
