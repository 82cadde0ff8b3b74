"""Fault schedules against the mirror, and against mutations of it, each without one safeguard: these must fail.

CHAOS_SCHEDULES sets the number of schedules, and CHAOS_LAB_SCHEDULES that of schedules on several hosts (0: none). The
mutations take long and run only with CHAOS_MUTATIONS=1. docs/explanation/faults.md has the commands for thousands of
schedules, and for another database.
"""

import os
import random
import re
import subprocess
import sys

import pytest
from django.conf import settings
from django.db import connection

from sync.tests.chaos.mutations import BOUNDS

SCHEDULES = int(os.environ.get("CHAOS_SCHEDULES", "50"))
LAB_SCHEDULES = int(os.environ.get("CHAOS_LAB_SCHEDULES", "20"))
SECONDS = 10  # at most, for one schedule on a busy machine


def chaos(schedules: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the runner in its own process, with its own servers if the tests started theirs."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite does not support several writing processes")
    database = os.environ.get("TEST_DATABASE", "mariadb")
    command = [sys.executable, "-m", "sync.tests.chaos", "--schedules", str(schedules), "--database", database]
    return subprocess.run(
        [*command, *options], cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=120 + SECONDS * schedules,
        env=os.environ | ({"CHAOS_PATIENCE": "10"} if "--mutation" in options else {}),
    )  # fmt: skip


@pytest.mark.skipif(not SCHEDULES, reason="CHAOS_SCHEDULES=0")
def test_nothing_is_lost_stale_or_invented_under_faults() -> None:
    result = chaos(SCHEDULES, "--seed", os.environ.get("SEED", str(random.randrange(10**6))))
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.skipif(not LAB_SCHEDULES, reason="CHAOS_LAB_SCHEDULES=0")
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_nothing_is_lost_stale_or_invented_while_the_network_is_cut() -> None:
    if os.environ.get("TEST_DATABASE", "mariadb") != "mariadb":
        pytest.skip("the hosts have a MariaDB of their own")
    result = chaos(LAB_SCHEDULES, "--lab", "--seed", os.environ.get("SEED", str(random.randrange(10**6))))
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.skipif("CHAOS_MUTATIONS" not in os.environ, reason="takes long; CHAOS_MUTATIONS=1 runs it")
@pytest.mark.parametrize("mutation", BOUNDS)
def test_a_missing_safeguard_is_caught(mutation: str) -> None:
    result = chaos(BOUNDS[mutation], "--seed", "1", "--mutation", mutation)
    assert result.returncode == 1, result.stdout + result.stderr
    caught = re.search(r"Seed \d+ is wrong, as schedule (\d+)", result.stdout)
    assert caught, result.stdout + result.stderr
    print(f"{mutation}: caught by schedule {caught[1]}")
