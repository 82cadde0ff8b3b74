"""A statement that is compiled once runs with other values each time, and on all databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Count, Value

from sync.core.clock import DatabaseNow, as_moment, database_now
from sync.core.compiled import Statement
from sync.workers.models import Checkpoint

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

NAME, STATE = "the name", "the state"


@pytest.fixture(autouse=True)
def two_rows() -> None:
    Checkpoint.objects.create(name="one")
    Checkpoint.objects.create(name="two", paused=True)


def named(**more: Any) -> Any:
    return Checkpoint.objects.using("default").filter(name=NAME, **more)


def test_it_says_whether_there_are_such_rows() -> None:
    exists = Statement.exists(named(paused=True))
    assert [bool(exists.fetch({NAME: name})) for name in ("one", "two", "three")] == [False, True, False]
    assert Statement.exists(Checkpoint.objects.using("default")).fetch()


def test_it_returns_values_of_groups() -> None:
    groups = Checkpoint.objects.using("default").values("paused").annotate(count=Count("pk"), now=DatabaseNow())
    for _, count, now in Statement.select(groups).fetch():
        assert count == 1
        assert abs(as_moment(now) - database_now("default")) < timedelta(seconds=60)


def test_an_update_says_how_many_rows_it_has_found_even_if_it_changes_none() -> None:
    update = Statement.update(named(), state=Value(STATE), leased_until=DatabaseNow() + timedelta(hours=1))
    for name, found in (("one", 1), ("one", 1), ("three", 0)):
        assert update.run({NAME: name, STATE: '{"at": "é"}'}) == found
    one, two = Checkpoint.objects.order_by("name")
    assert (one.state, two.state) == ({"at": "é"}, {})
    assert one.leased_until - database_now("default") > timedelta(minutes=59)
    same = Statement.update(named(), holder="h")
    assert [same.run({NAME: "two"}) for _ in range(2)] == [1, 1]
