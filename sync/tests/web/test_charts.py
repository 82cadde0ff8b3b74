"""Samples and charts: one sample for each slot, gaps between samples, and a text for every chart."""

import pytest

from sync.core.clock import database_now
from sync.monitoring import history
from sync.monitoring.models import Sample
from sync.outbox.models import Change
from sync.web.charts import HEIGHT, MARGIN, WIDTH, charts, table
from sync.workers.heartbeat import WorkerHeartbeat

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


def test_one_sample_is_taken_for_each_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EVERY", 1000)
    Sample.objects.create(slot=1, pending=5)
    relay = WorkerHeartbeat("default")
    relay.count(3, [0.004, 0.004, 40.0])
    relay.write()
    Change.objects.create(model="finance.account", key="a", due_at="2020-01-01T00:00Z")
    took = [history.take() for _ in range(3)]
    assert took.count(True) in (1, 2), "two if a slot ends during the test"
    sample = Sample.objects.latest("slot")
    assert (sample.pending, sample.p50, sample.p99) == (1, 0.005, 50.0)
    assert sample.rate > 0
    assert sample.oldest_age >= 0
    assert not Sample.objects.filter(slot=1).exists(), "old samples are deleted"


def test_a_slot_without_a_relay_is_a_gap_and_not_a_zero() -> None:
    last = int(database_now("default").timestamp()) // history.EVERY
    Sample.objects.create(slot=last - 3, pending=0, p50=0.02)
    Sample.objects.create(slot=last - 1, pending=10, p50=0.02)
    recent = history.recent()
    assert len(recent) == history.SHOWN
    lag, pending, oldest, rate = charts(recent)
    [(name, pieces)] = pending.lines
    assert name == "pending"
    assert len(pieces) == 2
    bottom, top = (piece.split()[0].split(",") for piece in pieces)
    assert float(bottom[1]) == HEIGHT - MARGIN
    assert float(top[1]) == MARGIN
    assert 0 < float(bottom[0]) < float(top[0]) <= WIDTH
    assert pending.label == "Pending changes, last 15 minutes: pending now 10, maximum 10."
    assert lag.label == "Lag, last 15 minutes: p50 now 20 ms, maximum 20 ms."
    assert oldest.top == "0 ms"
    assert (rate.top, rate.lines) == ("unknown", [("rate", [])])
    assert rate.label.endswith(": no data.")
    assert [sample.pending for _, sample in table(recent)] == [10, 0]


def test_there_are_no_charts_without_samples() -> None:
    assert charts(history.recent()) == []
