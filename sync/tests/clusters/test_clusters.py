"""Schedules on three Galera nodes: causal reads prevent stale documents, and without them documents become stale.

docs/faults.md has the command for hundreds of schedules.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from django.conf import settings

from tests.galera import library

pytestmark = pytest.mark.skipif(not library(), reason="Galera is not installed: apt-get install galera-4")


def clusters(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the runner in its own process, with its own servers."""
    return subprocess.run(
        [sys.executable, "-m", "sync.tests.clusters", "--verbose", *options],
        cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_no_document_stays_stale_on_a_cluster() -> None:
    seed = os.environ.get("SEED", str(4 * random.randrange(10**5)))  # the first schedule is forced
    result = clusters("--schedules", "6", "--seed", seed)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_no_document_stays_stale_while_nodes_fail() -> None:
    result = clusters("--lab", "--schedules", "8", "--seed", os.environ.get("SEED", str(random.randrange(10**6))))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_without_causal_reads_a_document_stays_stale() -> None:
    result = clusters("--schedules", "1", "--seed", "0", "--without-cure")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "the document is not the row's" in result.stdout
