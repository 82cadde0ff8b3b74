"""script/audit fails on a known vulnerability, but not when the vulnerability database is unreachable."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT

FINE = {"name": "fine", "version": "1", "vulns": []}
SKIPPED = {"name": "skipped", "skip_reason": "Dependency not found on PyPI"}
BROKEN = {"name": "broken", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}


def audit(folder: Path, status: int, report: Any, stderr: str = "") -> subprocess.CompletedProcess[str]:
    """Runs script/audit with a fake pip-audit that has this exit status, report and standard error."""
    program = folder / "python"
    text = json.dumps({"dependencies": report, "fixes": []}) if report is not None else ""
    program.write_text(f"#!/bin/sh\nprintf '%s' '{text}'\nprintf '%s' '{stderr}' >&2\nexit {status}\n")
    program.chmod(0o755)
    environment = os.environ | {"PYTHON": str(program)}
    return subprocess.run(["script/audit"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("given", "status", "line"),
    [
        ((0, [FINE, SKIPPED]), 0, "No known vulnerability."),
        ((1, [FINE, BROKEN, SKIPPED]), 1, "broken 1: CVE-1, fixed in 2"),
        ((0, [SKIPPED]), 0, "unreachable"),
        ((1, None, "requests.exceptions.ConnectionError: x"), 0, "unreachable"),
        ((2, None, "error: unknown option"), 1, ""),
    ],
    ids=["no vulnerability", "one", "all unknown", "no network", "wrong option"],
)
def test_the_audit_fails_on_a_known_vulnerability_but_not_without_network(
    tmp_path: Path, given: Any, status: int, line: str
) -> None:
    done = audit(tmp_path, *given)
    assert done.returncode == status, done.stderr
    assert line in done.stdout
    assert len(done.stdout.splitlines()) <= 1
