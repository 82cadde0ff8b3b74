"""A chart and the table with the same numbers, from which the page draws it and the CSV is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

MOST_BARS = 12  # of names; the table has all of them


@dataclass(frozen=True)
class Series:
    """One color of a chart; several series are stacked.

    column: the table's column that it draws. narrows: what a click on its bar adds to the query of the row's URL.
    """

    label: str
    column: int
    narrows: str = ""


@dataclass(frozen=True)
class Chart:
    """Rows of a label and numbers; `series` names the columns that are drawn.

    key: its name in ids and URLs. shape: "bar" (over time) or "names" (one horizontal bar for each name).
    columns: headings, the label's first. An unknown number is None, never 0. unit: of what is drawn.
    urls: what a click on a row opens. partial: labels of periods of which only a part is known, and until or from when.
    """

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    series: Sequence[Series]
    shape: str = "bar"
    empty: str = ""
    note: str = ""
    unit: str = ""
    urls: Sequence[str] = ()
    partial: Mapping[str, str] = field(default_factory=dict)
    wide: bool = False

    @property
    def drawn(self) -> dict[str, Any]:
        """The data for the script that draws the chart."""
        rows = self.rows[:MOST_BARS] if self.shape == "names" else self.rows
        return {
            "shape": self.shape,
            "unit": self.unit,
            "labels": [str(row[0]) for row in rows],
            "urls": self.urls[: len(rows)],
            "partial": [str(row[0]) in self.partial for row in rows],
            "series": [
                {"label": each.label, "narrows": each.narrows, "values": [_float(row[each.column]) for row in rows]}
                for each in self.series
            ],
        }

    @property
    def table(self) -> list[tuple[Any, str, str, Sequence[Any]]]:
        """For each row its label, why it is partial, URL (each empty if there is none) and numbers."""
        urls = self.urls or [""] * len(self.rows)
        return [
            (row[0], self.partial.get(str(row[0]), ""), url, row[1:]) for row, url in zip(self.rows, urls, strict=True)
        ]

    @property
    def label(self) -> str:
        """Its text alternative."""
        return _("Chart: %(title)s. The table below shows the same numbers.") % {"title": self.title}

    @property
    def data_id(self) -> str:
        return f"chart-{self.key}"

    @property
    def cut(self) -> int:
        """How many rows are in the table only."""
        return max(len(self.rows) - MOST_BARS, 0) if self.shape == "names" else 0


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
