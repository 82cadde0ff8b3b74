"""The database's clock can be compared with stored times."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import TextField
from django.db.models.functions import Cast

from sync.core.clock import DatabaseNow
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
