"""RoutePause caches whether a route is paused, and does not query an unreachable database again at once."""

from typing import Any

import pytest
from django.db import OperationalError

from sync.workers.models import Checkpoint
from sync.workers.routes import PAUSE_AGE, UNREACHABLE_AGE, RoutePause


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("sync.workers.routes.time.monotonic", lambda: now[0])
    return now


@pytest.mark.django_db
def test_an_answer_is_cached_for_a_while(clock: list[float]) -> None:
    pause = RoutePause("copy:a/b.c")
    assert pause() is False
    Checkpoint.objects.create(name="copy:a/b.c", paused=True)
    clock[0] += PAUSE_AGE / 2
    assert pause() is False
    clock[0] += PAUSE_AGE
    assert pause() is True


def test_an_unreachable_database_does_not_delay_writes(clock: list[float], monkeypatch: Any) -> None:
    """A failing connection may take seconds, and a copy checks for a pause before each write."""
    asked: list[float] = []

    def using(alias: str) -> None:
        asked.append(clock[0])
        raise OperationalError(2002, "Can't connect")

    monkeypatch.setattr(Checkpoint.objects, "using", using)
    pause = RoutePause("copy:a/b.c")
    pause.answer = True  # the last answer
    for _ in range(100):
        assert pause() is True
        clock[0] += UNREACHABLE_AGE / 40
    assert len(asked) == 3
