"""Small charts of recent samples: points for SVG polylines, and the same content as text."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from sync.core.humanize import duration, number
from sync.monitoring.history import EVERY
from sync.monitoring.models import Sample

WIDTH, HEIGHT = 300, 60
MARGIN = 3  # distance of the lines from the upper and lower edge


@dataclass(frozen=True)
class Chart:
    """One chart.

    lines: the name and the pieces of each line. A piece is the `points` of an SVG polyline; gaps in the samples
        separate the pieces.
    label: a sentence with the chart's content, for screen readers.
    top: the largest value, with its unit.
    """

    title: str
    lines: list[tuple[str, list[str]]]
    label: str
    top: str


def charts(samples: Sequence[Sample]) -> list[Chart]:
    """Return the charts of lag, pending changes, oldest change and throughput; none if there are no samples."""
    if not any(is_taken(sample) for sample in samples):
        return []
    return [
        _chart(_("Lag"), samples, {"p50": "p50", "p99": "p99"}, duration),
        _chart(_("Pending changes"), samples, {"pending": _("pending")}, number),
        _chart(_("Oldest pending change"), samples, {"oldest_age": _("age")}, duration),
        _chart(_("Throughput"), samples, {"rate": _("changes/s")}, number),
    ]


def is_taken(sample: Sample) -> bool:
    """Return whether a relay took this sample; otherwise its slot is a gap."""
    return sample.pending is not None


def table(samples: Sequence[Sample]) -> list[tuple[datetime.datetime, Sample]]:
    """Return the samples with their times, newest first, without the gaps."""
    return [
        (datetime.datetime.fromtimestamp(sample.slot * EVERY, datetime.UTC), sample)
        for sample in reversed(samples)
        if is_taken(sample)
    ]


def _chart(title: str, samples: Sequence[Sample], names: dict[str, str], text: Callable[[float], str]) -> Chart:
    values = {field: [_value(sample, field) for sample in samples] for field in names}
    known = [value for line in values.values() for value in line if value is not None]
    top = max(known, default=0.0)
    parts = []
    for field, name in names.items():
        line = [value for value in values[field] if value is not None]
        if line:
            parts.append(_("%(name)s now %(now)s, maximum %(most)s") % {
                "name": name, "now": text(line[-1]), "most": text(max(line)),
            })  # fmt: skip
    minutes = len(samples) * EVERY // 60
    label = _("%(title)s, last %(minutes)s minutes: %(values)s.") % {
        "title": title, "minutes": minutes, "values": "; ".join(parts) or _("no data"),
    }  # fmt: skip
    lines = [(field, _pieces(line, top)) for field, line in values.items()]
    return Chart(title, lines, label, text(top) if known else _("unknown"))


def _value(sample: Sample, field: str) -> float | None:
    # In a sample without pending changes, the oldest one has no age: draw 0 instead of a gap.
    if field == "oldest_age" and is_taken(sample):
        return sample.oldest_age or 0.0
    return getattr(sample, field)


def _pieces(line: Sequence[float | None], top: float) -> list[str]:
    pieces: list[list[str]] = [[]]
    for index, value in enumerate(line):
        if value is None:
            pieces.append([])
            continue
        x = index * WIDTH / max(len(line) - 1, 1)
        y = HEIGHT - MARGIN - (value / top if top else 0.0) * (HEIGHT - 2 * MARGIN)
        pieces[-1].append(f"{x:.1f},{y:.1f}")
    # A single point becomes a line from itself to itself. Its round ends make a dot.
    return [" ".join(piece * 2 if len(piece) == 1 else piece) for piece in pieces if piece]
