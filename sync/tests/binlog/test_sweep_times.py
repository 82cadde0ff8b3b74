"""The follower looks for sweeps only when the next one is due."""

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pymongo.database import Database

from sync.binlog import sweep
from sync.binlog.follower import Follower, _Session
from sync.binlog.models import Sweep
from sync.core.clock import DatabaseNow
from sync.tests.support import follow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _rights(mongo: Database) -> Iterator[None]:
    follow.grant()
    connection.close()
    yield
    follow.revoke()


def test_the_wait_ends_when_the_first_of_the_planned_sweeps_is_due(settings: Any) -> None:
    settings.SYNC_SETTLE = 60.0
    assert sweep.wait("default") == math.inf
    sweep.plan("finance.account", "default")
    assert -10 < sweep.wait("default") <= 0
    assert sweep.work("default")
    assert 50 < sweep.wait("default") <= 60
    assert not sweep.work("default")


def test_a_session_asks_for_sweeps_at_its_start_and_then_when_the_next_is_due(settings: Any) -> None:
    settings.SYNC_SETTLE = 60.0
    with _Session(Follower()) as session:
        session.next_watch = math.inf
        session._plan()
        while session.next_sweep < time.monotonic():
            session._run_periodic()
        assert Sweep.objects.exists(), "the second ones"
        with CaptureQueriesContext(connection) as queries:
            for _ in range(3):
                session._run_periodic()
        assert len(queries) == 0
        Sweep.objects.update(due_at=DatabaseNow())
        session.next_sweep = 0.0  # as after SYNC_SETTLE
        while session.next_sweep < time.monotonic():
            session._run_periodic()
        assert not Sweep.objects.exists()
        assert session.next_sweep == math.inf
        session.state.unplanned["finance.account"] = True
        session._plan()
        assert session.next_sweep == 0.0, "new sweeps are planned"
