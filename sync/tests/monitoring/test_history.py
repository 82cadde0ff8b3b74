"""Samples and their summaries: one for each slot, gaps, kept peaks, and a limited number of rows."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sync.core.clock import database_now
from sync.monitoring import history
from sync.monitoring.history import EVERY, KEPT, RANGES, SUMMARIZED, points, summarize, take
from sync.monitoring.models import Sample, SampleSummary
from sync.outbox.models import Change
from sync.workers.heartbeat import WorkerHeartbeat

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

TEN_MINUTES = 600 // EVERY  # slots
DAY = 24 * 3600 // EVERY  # slots


def slot() -> int:
    return int(database_now("default").timestamp()) // EVERY


def take_and_summarize() -> None:
    assert take()
    summarize()


def pending(shown: str) -> list[list[float]]:
    """The spreads of the pending changes, without the gaps."""
    return [[*point.measures["pending"]] for point in points(RANGES[shown]) if point.measures]


def test_one_sample_is_taken_for_each_slot() -> None:
    relay = WorkerHeartbeat("default")
    relay.count(3, [0.004, 0.004, 40.0])
    relay.write()
    Change.objects.create(model="finance.account", key="a", due_at="2020-01-01T00:00Z")
    took = [take() for _ in range(3)]
    assert took.count(None) in (1, 2), "one if a slot ends during the test"
    sample = Sample.objects.latest("slot")
    assert (sample.pending, sample.p50, sample.p99) == (1, 0.005, 50.0)
    assert sample.rate > 0
    assert sample.oldest_age >= 0


def test_a_peak_of_one_sample_is_the_maximum_of_its_summary() -> None:
    begin = (slot() - DAY // 2) // TEN_MINUTES * TEN_MINUTES
    for offset, number in ((0, 0), (1, 900), (2, 0)):
        Sample.objects.create(slot=begin + offset, pending=number, p99=0.5)
    Sample.objects.create(slot=begin + 3)  # by a relay that was killed: not a zero
    take_and_summarize()
    for shown in ("24h", "7d"):
        assert [0, 300.0, 900] in pending(shown)
    first = next(point for point in points(RANGES["24h"]) if point.measures)
    assert first.at.timestamp() == begin * EVERY
    assert first.measures["p99"] == (0.5, 0.5, 0.5)
    assert first.measures["oldest_age"] == (0, 0, 0), "nothing is pending"
    assert "rate" not in first.measures, "no worker was alive"


def test_a_period_without_samples_is_a_gap() -> None:
    Sample.objects.create(slot=slot() - 10 * TEN_MINUTES, pending=1)
    take_and_summarize()
    day = [bool(point.measures) for point in points(RANGES["24h"])]
    assert day[-1]
    assert sum(day) == 2
    assert sum(bool(point.measures) for point in points(RANGES["15m"])) == 1


def test_after_a_pause_the_last_summary_gets_the_samples_that_it_lacks() -> None:
    begin = (slot() - DAY // 2) // TEN_MINUTES * TEN_MINUTES
    Sample.objects.create(slot=begin, pending=1)
    take_and_summarize()
    SampleSummary.objects.filter(slot__gt=begin // TEN_MINUTES, step=600).delete()
    # A process took this sample and was killed before it summarized.
    Sample.objects.create(slot=begin + 1, pending=3)
    Sample.objects.filter(slot__gt=begin + 1).delete()
    take_and_summarize()
    assert [1, 2.0, 3] in pending("24h")


def test_an_older_version_by_a_slow_process_is_replaced() -> None:
    take_and_summarize()
    SampleSummary.objects.update(measures={"pending": [7, 7, 7]})
    Sample.objects.all().delete()
    Change.objects.create(model="finance.account", key="a", due_at="2020-01-01T00:00Z")
    take_and_summarize()
    for shown in ("24h", "7d"):
        assert pending(shown)[-1] == [1, 1.0, 1]


def test_the_number_of_rows_is_limited() -> None:
    now = slot()
    last_of_a_day = (now - DAY) // (3600 // EVERY) * (3600 // EVERY)
    for old in (1, last_of_a_day - 1, last_of_a_day):
        Sample.objects.create(slot=old, pending=5)
    for shown in SUMMARIZED:
        for old in (1, now * EVERY // shown.step - shown.points):
            SampleSummary.objects.create(step=shown.step, slot=old, measures={})
        future = now * EVERY // shown.step + 9  # the database's clock was set back
        SampleSummary.objects.create(step=shown.step, slot=future, measures={})
    take_and_summarize()
    assert Sample.objects.filter(slot__lt=now - DAY).count() <= 1, "only whole hours are deleted"
    assert not Sample.objects.filter(slot__lt=last_of_a_day).exists()
    for shown in SUMMARIZED:
        kept = SampleSummary.objects.filter(step=shown.step)
        assert not kept.filter(slot__lte=now * EVERY // shown.step - shown.points).exists()
        assert kept.filter(slot=now * EVERY // shown.step).exists()


@pytest.mark.parametrize("name", RANGES)
def test_a_range_has_a_limited_number_of_points_and_takes_two_queries(name: str) -> None:
    take_and_summarize()
    shown = RANGES[name]
    with CaptureQueriesContext(connection) as queries:
        found = points(shown)
    assert len(queries) == 2
    assert len(found) == shown.points <= 200
    assert found[-1].at - found[0].at == (found[1].at - found[0].at) * (shown.points - 1)
    assert found[-1].measures["pending"] == (0, 0, 0)


def test_the_ranges_are_15_minutes_24_hours_and_7_days() -> None:
    assert {name: shown.seconds for name, shown in RANGES.items()} == {"15m": 900, "24h": 86_400, "7d": 604_800}
    assert KEPT == 86_400


def test_each_fourth_sample_updates_the_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, expected in ((8, True), (9, False), (None, False)):
        summarized: list[str] = []
        monkeypatch.setattr(history, "take", lambda using, slot=number: slot)
        monkeypatch.setattr(history, "summarize", summarized.append)
        history.work()
        assert bool(summarized) == expected
