"""The database's clock can be compared with stored times."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import TextField
from django.db.models.functions import Cast
from django.test.utils import CaptureQueriesContext

from sync.core import clock
from sync.core.clock import DatabaseNow, database_now, extrapolated_now
from sync.outbox.models import Change

pytestmark = [pytest.mark.django_db, pytest.mark.engine]


def test_now_has_as_many_digits_as_a_stored_time() -> None:
    """SQLite compares times as text."""
    if connection.vendor != "sqlite":
        pytest.skip("MySQL compares times by value")
    change = Change.objects.create(model="finance.account", key="1", due_at="2020-01-01T00:00:00.123456Z")
    now = Cast(DatabaseNow(), TextField())
    stored = Cast("due_at", TextField())
    texts = Change.objects.filter(pk=change.pk).values_list(now, stored).get()
    assert [len(text) for text in texts] == [26, 26]


def test_a_change_that_was_just_recorded_is_due() -> None:
    for number in range(50):
        Change.objects.create(model="finance.account", key=str(number))
        assert Change.objects.due().count() == number + 1


def test_the_extrapolated_time_follows_the_databases_and_asks_for_it_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "CLOCK_AGE", 1e9)  # so that none ends during the test
    clock._asked.cache_clear()
    with CaptureQueriesContext(connection) as queries:
        times = [extrapolated_now("default") for _ in range(5)]
    assert len(queries) == 1
    assert times == sorted(times)
    assert abs(database_now("default") - extrapolated_now("default")) < timedelta(seconds=1)
    clock._asked.cache_clear()
