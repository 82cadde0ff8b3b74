"""Small charts of the last minutes, drawn on the server: lines as SVG has them, and the words that say the same."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from sync.core.humanize import duration
from sync.monitoring.history import EVERY
from sync.monitoring.models import Sample

WIDTH, HEIGHT = 300, 60
MARGIN = 3  # of the lines to the upper and lower edge


@dataclass(frozen=True)
class Chart:
    """lines: for each figure its name and its pieces, which are the `points` of SVG polylines; it breaks where nothing
    is known. label: what the picture shows, in a sentence. top: the largest value, in words.
    """

    title: str
    lines: list[tuple[str, list[str]]]
    label: str
    top: str


def charts(samples: Sequence[Sample]) -> list[Chart]:
    """Those of lag, pending changes, oldest change and rate; none while nothing was sampled."""
    if not any(is_taken(sample) for sample in samples):
        return []
    return [
        _chart(_("From commit to MongoDB"), samples, {"p50": _("median"), "p99": _("99 % within")}, duration),
        _chart(_("Pending changes"), samples, {"pending": _("pending")}, _number),
        _chart(_("Oldest pending change"), samples, {"oldest_age": _("age")}, duration),
        _chart(_("Delivered a second"), samples, {"rate": _("keys a second")}, _number),
    ]


def is_taken(sample: Sample) -> bool:
    return sample.pending is not None


def table(samples: Sequence[Sample]) -> list[tuple[datetime.datetime, Sample]]:
    """The samples that were taken with their times, the newest first."""
    return [
        (datetime.datetime.fromtimestamp(sample.slot * EVERY, datetime.UTC), sample)
        for sample in reversed(samples)
        if is_taken(sample)
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _chart(title: str, samples: Sequence[Sample], names: dict[str, str], words: Callable[[float], str]) -> Chart:
    values = {field: [_value(sample, field) for sample in samples] for field in names}
    known = [value for line in values.values() for value in line if value is not None]
    top = max(known, default=0.0)
    said = []
    for field, name in names.items():
        line = [value for value in values[field] if value is not None]
        if line:
            said.append(_("%(name)s now %(now)s, at most %(most)s") % {
                "name": name, "now": words(line[-1]), "most": words(max(line)),
            })  # fmt: skip
    minutes = len(samples) * EVERY // 60
    label = _("%(title)s, the last %(minutes)s minutes: %(said)s.") % {
        "title": title, "minutes": minutes, "said": "; ".join(said) or _("nothing is known"),
    }  # fmt: skip
    lines = [(field, _pieces(line, top)) for field, line in values.items()]
    return Chart(title, lines, label, words(top) if known else _("unknown"))


def _value(sample: Sample, field: str) -> float | None:
    # No change is pending: that is known, and its age is none.
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
    # One point alone is drawn as a line from itself to itself, which round ends make a dot.
    return [" ".join(piece * 2 if len(piece) == 1 else piece) for piece in pieces if piece]
