"""A chart and the table of the same numbers: what a page draws, and what a CSV holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

MOST_BARS = 12  # of names; the table has them all


@dataclass(frozen=True)
class Series:
    """One colour of a chart; several are stacked. column: which of the table's columns it draws."""

    label: str
    column: int


@dataclass(frozen=True)
class Chart:
    """Rows of a label and numbers, as a table; `series` says which columns are drawn.

    key: its name in ids and addresses. shape: "bar" (over time) or "names" (one bar for each name, lying).
    columns: headings, the label's first. A number that is not known is None, never 0. urls: where the labels lead.
    """

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    series: Sequence[Series]
    shape: str = "bar"
    empty: str = ""
    note: str = ""
    urls: Sequence[str] = ()
    wide: bool = False

    @property
    def drawn(self) -> dict[str, Any]:
        """What the script in the page draws."""
        rows = self.rows[:MOST_BARS] if self.shape == "names" else self.rows
        return {
            "shape": self.shape,
            "labels": [str(row[0]) for row in rows],
            "series": [{"label": each.label, "values": [_float(row[each.column]) for row in rows]}
                       for each in self.series],
        }  # fmt: skip

    @property
    def table(self) -> list[tuple[Any, str, Sequence[Any]]]:
        """For each row its label, the address behind it (empty where there is none), and its numbers."""
        urls = self.urls or [""] * len(self.rows)
        return [(row[0], url, row[1:]) for row, url in zip(self.rows, urls, strict=True)]

    @property
    def label(self) -> str:
        """What it is called where it cannot be seen."""
        return _("Chart: %(title)s. The table below it has the same numbers.") % {"title": self.title}

    @property
    def data_id(self) -> str:
        return f"chart-{self.key}"

    @property
    def cut(self) -> int:
        """How many rows the drawing leaves to the table."""
        return max(len(self.rows) - MOST_BARS, 0) if self.shape == "names" else 0


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
