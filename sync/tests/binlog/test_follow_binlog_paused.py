"""An operator pauses and resumes a running follower, also across a kill -9 during the pause."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from sync.tests.support import follow
from sync.tests.support.follow import add_accounts, following, recorded
from sync.tests.support.routes import is_paused_and_falls_behind, pause, resume, status_of, stays_as_it_is, until

pytestmark = pytest.mark.django_db(transaction=True)

ROUTE = "follow-binlog"


@pytest.fixture(autouse=True)
def _rights(settings: Any, mongo: Database) -> Iterator[None]:
    settings.SYNC_INLINE = False
    follow.grant()
    yield
    follow.revoke()


@pytest.mark.slow
def test_a_paused_follower_records_nothing_and_after_resuming_each_change_once() -> None:
    with following(recording=True) as process:
        add_accounts(5)
        until(lambda: len(recorded()) == 5)
        pause(ROUTE)
        add_accounts(20, first=6)
        stays_as_it_is(recorded)
        is_paused_and_falls_behind(ROUTE, process.pid)
        process.kill()
        process.start()
        is_paused_and_falls_behind(ROUTE, process.pid)
        add_accounts(5, first=26)
        stays_as_it_is(recorded)
        assert len(recorded()) == 5
        assert process.status is None
        resume(ROUTE)
        until(lambda: len(recorded()) == 30)
        assert set(recorded().values()) == {1}, "each once"
        until(lambda: status_of(ROUTE)["lag"] < 5)
