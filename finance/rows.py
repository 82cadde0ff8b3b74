"""A document field that a form shows as a table: one row for each trade of a bucket, or for each tier of a customer.

Each row carries its stored object beside its cells. Saving changes what was edited in a cell, and keeps everything else
of the object: further fields, types, and the exact spelling of numbers. Without JavaScript, the buttons that add and
copy a row submit the form, and the page comes back with one row more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar

from bson.errors import BSONError
from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from audit.controls import LINE_ENDS
from sync.mapping.extended_json import ExtendedJSONDecoder, ExtendedJSONEncoder

MOST_ROWS = 150  # Django accepts 1000 fields in a form, and a row has six
LONGEST_CELL = 2000  # characters

Row = dict[str, str]  # the text of each cell, and in STORED the object as Extended JSON; "" for a new row
STORED = "stored"


class RowsWidget(forms.Widget):
    """The table. Its value is the JSON of a list of rows, so that two values can be compared as text."""

    use_fieldset = True
    errors: dict[tuple[int, str], str]

    def __init__(self, template: str, cells: tuple[str, ...]) -> None:
        super().__init__()
        self.template = template
        self.cells = cells
        self.errors = {}

    def value_from_datadict(self, data: Any, files: Any, name: str) -> str:
        pattern = re.compile(rf"{name}-([0-9]{{1,6}})-{STORED}")
        numbers = [int(found[1]) for key in data if (found := pattern.fullmatch(key))]  # in the order of the page
        rows = []
        for number in numbers:
            # A box that is not checked may have a name and no value.
            texts = {cell: data.get(f"{name}-{number}-{cell}") or "" for cell in (STORED, *self.cells)}
            row = {cell: LINE_ENDS.sub("\n", text).strip() for cell, text in texts.items()}
            if not data.get(f"{name}-{number}-remove"):
                rows.append(row)
            if data.get(f"{name}-copy") == str(number):
                rows.append(row)
        if f"{name}-add" in data:
            rows.append(dict.fromkeys((STORED, *self.cells), ""))
        return json.dumps(rows)

    def value_omitted_from_datadict(self, data: Any, files: Any, name: str) -> bool:
        return False  # no row at all is a value, too

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        rows = [
            {"number": number, "stored": row[STORED], "cells": self._cells(name, number, row)}
            for number, row in enumerate(json.loads(value or "[]"))
        ]
        blank = {"number": "NEW", "stored": "", "cells": self._cells(name, "NEW", {})}
        context = {"name": name, "rows": rows, "blank": blank, "most": MOST_ROWS}
        return SafeString(render_to_string(self.template, context))

    def _cells(self, name: str, number: int | str, row: Row) -> dict[str, dict[str, Any]]:
        return {
            cell: {
                "name": f"{name}-{number}-{cell}",
                "value": row.get(cell, ""),
                "error": self.errors.get((number, cell), "") if isinstance(number, int) else "",
            }
            for cell in self.cells
        }


class CellErrors(Exception):
    """The message for each cell that has an error."""


class RowsField(forms.Field):
    """A value that is edited as rows. A subclass says how its items become rows, and cells become an item."""

    template: ClassVar[str]
    cells: ClassVar[tuple[str, ...]]
    widget: RowsWidget

    def __init__(self, *, label: Any) -> None:
        super().__init__(label=label, required=False, widget=RowsWidget(self.template, self.cells))

    # --- what a subclass defines ------------------------------------------------------------------------------------

    def items(self, value: Any) -> list[Any]:
        """The items of a stored value."""
        raise NotImplementedError

    def value(self, items: list[Any]) -> Any:
        """The value with these items."""
        raise NotImplementedError

    def texts(self, item: Any) -> Row:
        """The text of each cell. Raises ValueError if a cell cannot show its value."""
        raise NotImplementedError

    def edit(self, item: Any, row: Row, edited: set[str]) -> Any:
        """The item with the edited cells of the row. `item` is None for a new row. Raises CellErrors."""
        raise NotImplementedError

    def describe(self, value: Any) -> str:
        """The value in a few words."""
        raise NotImplementedError

    # --- what all have in common ------------------------------------------------------------------------------------

    def shows(self, value: Any) -> bool:
        """Whether the table can show all of a stored value, so that saving it unedited changes nothing."""
        try:
            rows = list(self._rows(value))
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, BSONError):
            return False
        return len(rows) <= MOST_ROWS and all(len(text) <= LONGEST_CELL for row in rows for text in row.values())

    def prepare_value(self, value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(list(self._rows(value)))

    def _rows(self, value: Any) -> Iterator[Row]:
        for item in self.items(value):
            yield {STORED: json.dumps(item, cls=ExtendedJSONEncoder)} | self.texts(item)

    def clean(self, value: str) -> Any:
        """Sets `widget.errors`, and raises ValidationError, if a cell has an error."""
        self.widget.errors = {}
        items = []
        for number, row in enumerate(json.loads(value)):
            try:
                item = json.loads(row[STORED], cls=ExtendedJSONDecoder) if row[STORED] else None
                shown = self.texts(item) if row[STORED] else dict.fromkeys(self.cells, "")
            except Exception as error:  # only another program sends what this form did not show
                raise forms.ValidationError(_("Row %(number)s is damaged."), params={"number": number + 1}) from error
            edited = {cell for cell in self.cells if row[cell] != shown[cell]}
            try:
                if edited:
                    item = self.edit(item, row, edited)
            except CellErrors as errors:
                self.widget.errors |= {(number, cell): text for cell, text in errors.args[0].items()}
            else:
                if item is not None:  # a new row that stayed empty
                    items.append(item)
        if self.widget.errors:
            raise forms.ValidationError(_("Correct the highlighted cells."))
        return self.value(items)
