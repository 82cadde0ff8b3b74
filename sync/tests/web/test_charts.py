"""Charts of the mirror's history: lines, bands, gaps, a text for every chart, and links that choose the range."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from pymongo.database import Database

from sync.monitoring.history import RANGES, Point, Spread, summarize, take
from sync.tests.support.people import VIEWER, user
from sync.web.charts import HEIGHT, MARGIN, WIDTH, Chart, charts, table
from sync.web.console import COUNTS

BEGIN = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def same(value: float) -> Spread:
    return Spread(value, value, value)


def history(*measures: dict[str, Spread]) -> list[Point]:
    return [Point(BEGIN + timedelta(seconds=15 * number), each) for number, each in enumerate(measures)]


def drawn(*measures: dict[str, Spread], shown: str = "15m") -> list[Chart]:
    return charts(RANGES[shown], history(*measures))


def coordinates(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in points.split())]


def test_a_slot_without_a_relay_is_a_gap_and_not_a_zero() -> None:
    lag, pending, oldest, rate = drawn(
        {"pending": same(0), "p50": same(0.02), "oldest_age": same(0)}, {},
        {"pending": same(10), "p50": same(0.02), "oldest_age": same(0)}, {},
    )  # fmt: skip
    [line] = pending.lines
    assert line.name == "pending"
    assert line.bands == [], "each point is one sample"
    (left, bottom), (right, top) = (coordinates(piece)[0] for piece in line.pieces)
    assert (bottom, top) == (HEIGHT - MARGIN, MARGIN)
    assert 0 == left < right < WIDTH
    assert pending.label == "Pending changes. Last 15 minutes: pending latest 10, maximum 10."
    assert lag.label == "Lag. Last 15 minutes: p50 latest 20 ms, maximum 20 ms."
    assert oldest.top == "0 ms"
    assert (rate.top, rate.lines[0].pieces) == ("unknown", [])
    assert rate.label.endswith(": no data.")


def test_a_band_reaches_from_the_minimum_to_the_maximum() -> None:
    _lag, pending, _oldest, _rate = drawn(
        {"pending": Spread(0, 5, 20)}, {"pending": Spread(10, 10, 10)}, {}, {"pending": Spread(0, 1, 2)}, shown="7d"
    )
    [line] = pending.lines
    assert len(line.pieces) == len(line.bands) == 2
    ys = [y for _x, y in coordinates(line.bands[0])]
    assert (min(ys), max(ys)) == (MARGIN, HEIGHT - MARGIN)
    mean = coordinates(line.pieces[0])[0]
    assert mean == (0, HEIGHT - MARGIN - 5 / 20 * (HEIGHT - 2 * MARGIN))
    assert pending.top == "20"
    assert pending.label == "Pending changes. Last 7 days: pending latest 1, maximum 20."


def test_the_slowest_deliveries_are_drawn_at_their_maximum() -> None:
    lag, *_others = drawn({"p50": Spread(0.1, 0.2, 0.3), "p99": Spread(1, 2, 4.0)}, {"p99": Spread(1, 1, 1)})
    _median, slowest = lag.lines
    assert slowest.name == "p99"
    assert slowest.bands == []
    assert coordinates(slowest.pieces[0])[0] == (0, MARGIN)
    assert lag.top == "4 s"


def test_the_table_has_the_maximum_beside_the_mean() -> None:
    rows = table(history({"pending": Spread(0, 1.5, 10), "p99": Spread(1, 2, 3)}, {}, {"pending": same(2)}))
    assert rows == [
        (BEGIN + timedelta(seconds=30), ["", "", "2", "", ""]),
        (BEGIN, ["", "3 s", "1.5, up to 10", "", ""]),
    ]


def test_there_are_no_charts_without_samples() -> None:
    assert drawn({}, {}) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("address", "name"), [("", "15m"), ("?range=24h", "24h"), ("?range=7d", "7d"), ("?range=x", "15m")]
)
def test_the_address_chooses_the_range_which_the_live_part_keeps(
    client: Client, mongo: Database, address: str, name: str
) -> None:
    cache.delete(COUNTS)
    client.force_login(user("viewer", *VIEWER))
    assert "No data" in client.get(f"/sync/{address}").content.decode()
    assert take()
    summarize()
    page = client.get(f"/sync/{address}").content.decode()
    assert f'hx-get="/sync/live/?range={name}"' in page
    for each in (page, client.get(f"/sync/live/?range={name}").content.decode()):
        assert f'<h2 class="mb-0" id="charts">{RANGES[name].title}</h2>' in each
        links = each.partition('aria-label="Range of the charts"')[2].partition("</nav>")[0].split("<a ")[1:]
        assert all(f'href="/sync/?range={other}#charts"' in link for other, link in zip(RANGES, links, strict=True))
        assert ['aria-current="true"' in link for link in links] == [other == name for other in RANGES]
        assert ("the band goes from the minimum to the maximum" in " ".join(each.split())) == (name != "15m")
        assert each.count("<polyline") >= 2
