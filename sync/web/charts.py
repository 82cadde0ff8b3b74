"""Small charts of the mirror's history: points for SVG lines and bands, and the same content as text."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from sync.core.humanize import duration, number
from sync.monitoring.history import Point, Range, Spread

WIDTH, HEIGHT = 300, 60
MARGIN = 3  # distance of the lines from the upper and lower edge


@dataclass(frozen=True)
class Line:
    """One line. Gaps in the samples separate its pieces.

    pieces: the `points` of SVG polylines.
    bands: the `points` of SVG polygons from the smallest to the largest values; none if each point is one sample.
    """

    name: str
    pieces: list[str]
    bands: list[str]


@dataclass(frozen=True)
class Chart:
    """One chart.

    label: a sentence with the chart's content, for screen readers.
    top: the largest value, with its unit.
    """

    title: str
    lines: list[Line]
    label: str
    top: str


@dataclass(frozen=True)
class Series:
    """A line of a chart and a column of the table: the mean with a band around it, or only the maximum."""

    measure: str
    name: str
    text: Callable[[float], str]
    only_maximum: bool = False

    def drawn(self, point: Point) -> Spread | None:
        spread = point.measures.get(self.measure)
        return Spread(*[spread.maximum] * 3) if spread and self.only_maximum else spread

    def cell(self, point: Point) -> str:
        spread = self.drawn(point)
        if spread is None:
            return ""
        mean, maximum = self.text(spread.mean), self.text(spread.maximum)
        return mean if mean == maximum else _("%(mean)s, up to %(top)s") % {"mean": mean, "top": maximum}


def charts(shown: Range, points: Sequence[Point]) -> list[Chart]:
    """Return the charts of lag, pending changes, oldest change and throughput; none if there are no samples."""
    if not any(point.measures for point in points):
        return []
    return [_chart(title, shown, points, series) for title, series in _contents().items()]


def table(points: Sequence[Point]) -> list[tuple[datetime.datetime, list[str]]]:
    """Return each point's time and cells, newest first, without the gaps."""
    columns = [each for series in _contents().values() for each in series]
    return [(point.at, [each.cell(point) for each in columns]) for point in reversed(points) if point.measures]


def _contents() -> dict[str, list[Series]]:
    return {
        _("Lag"): [Series("p50", "p50", duration), Series("p99", "p99", duration, only_maximum=True)],
        _("Pending changes"): [Series("pending", _("pending"), number)],
        _("Oldest pending change"): [Series("oldest_age", _("age"), duration)],
        _("Throughput"): [Series("rate", _("changes/s"), number)],
    }


def _chart(title: str, shown: Range, points: Sequence[Point], series: Sequence[Series]) -> Chart:
    lines, parts = [], []
    drawn = [(each, [each.drawn(point) for point in points]) for each in series]
    top = max((spread.maximum for _series, spreads in drawn for spread in spreads if spread), default=None)
    for each, spreads in drawn:
        lines.append(_line(each.measure, spreads, top or 0.0))
        if known := [spread for spread in spreads if spread]:
            parts.append(_("%(name)s latest %(latest)s, maximum %(most)s") % {
                "name": each.name,
                "latest": each.text(known[-1].mean),
                "most": each.text(max(spread.maximum for spread in known)),
            })  # fmt: skip
    label = _("%(title)s. %(range)s: %(values)s.") % {
        "title": title, "range": shown.title, "values": "; ".join(parts) or _("no data"),
    }  # fmt: skip
    return Chart(title, lines, label, _("unknown") if top is None else series[0].text(top))


def _line(name: str, spreads: Sequence[Spread | None], top: float) -> Line:
    def at(index: int, value: float) -> str:
        x = index * WIDTH / max(len(spreads) - 1, 1)
        y = HEIGHT - MARGIN - (value / top if top else 0.0) * (HEIGHT - 2 * MARGIN)
        return f"{x:.1f},{y:.1f}"

    pieces, bands = [], []
    for run in _runs(spreads):
        piece = [at(index, spread.mean) for index, spread in run]
        # A single point becomes a line from itself to itself. Its round ends make a dot.
        pieces.append(" ".join(piece * 2 if len(piece) == 1 else piece))
        if any(spread.minimum < spread.maximum for _index, spread in run):
            upper = [at(index, spread.maximum) for index, spread in run]
            lower = [at(index, spread.minimum) for index, spread in reversed(run)]
            bands.append(" ".join(upper + lower))
    return Line(name, pieces, bands)


def _runs(spreads: Iterable[Spread | None]) -> list[list[tuple[int, Spread]]]:
    """Return the values with their positions, divided where values are missing."""
    runs: list[list[tuple[int, Spread]]] = [[]]
    for index, spread in enumerate(spreads):
        if spread:
            runs[-1].append((index, spread))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
