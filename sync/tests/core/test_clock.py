"""The database's clock, compared with the moments that are stored."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import TextField
from django.db.models.functions import Cast

from sync.core.clock import DatabaseNow
from sync.outbox.models import Change

pytestmark = [pytest.mark.django_db, pytest.mark.engine]


def test_now_has_as_many_digits_as_a_stored_moment() -> None:
    """SQLite compares them as text."""
    if connection.vendor != "sqlite":
        pytest.skip("MySQL compares moments")
    change = Change.objects.create(model="finance.account", key="1", due_at="2020-01-01T00:00:00.123456Z")
    now = Cast(DatabaseNow(), TextField())
    stored = Cast("due_at", TextField())
    texts = Change.objects.filter(pk=change.pk).values_list(now, stored).get()
    assert [len(text) for text in texts] == [26, 26]


def test_what_was_recorded_just_now_is_due() -> None:
    for number in range(50):
        Change.objects.create(model="finance.account", key=str(number))
        assert Change.objects.due().count() == number + 1
