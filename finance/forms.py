"""What all record forms share. Each form names its fields, and nothing else of a record can be set."""

from __future__ import annotations

import hmac
import re
from typing import Any

from django import forms
from django.forms.utils import ErrorDict
from django.utils.translation import gettext as _

from audit.editing import EditForm, version_of
from finance.filters import INT32
from finance.models import Record
from finance.rows import MOST_ROWS, RowsField
from sync.mapping.readable import ReadableForm

MOST_NUMBERS = 1000


class NumbersField(forms.CharField):
    """Account numbers, separated by commas or spaces."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        words = re.split(r"[\s,;]+", super().to_python(value) or "")
        words = [word for word in words if word]
        if len(words) > MOST_NUMBERS:
            raise forms.ValidationError(_("Enter at most %(most)s numbers."), params={"most": MOST_NUMBERS})
        for word in words:
            if not re.fullmatch(r"-?[0-9]{1,10}", word) or not INT32["min_value"] <= int(word) <= INT32["max_value"]:
                raise forms.ValidationError(_("%(word)s is not an account number."), params={"word": word[:20]})
        return [int(word) for word in words]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class RecordForm(EditForm, ReadableForm):
    """The fields of a new or existing record."""

    version_required = True

    def __init__(self, data: Any = None, *, instance: Any = None, as_json: bool = False) -> None:
        """as_json: shows documents as JSON, not as rows."""
        self.as_json = as_json
        self.rows: list[str] = []  # the fields that are shown as rows
        super().__init__(data, instance=instance)
        if self.only_changes_rows:
            self._errors = ErrorDict()  # the form is not finished, so nothing is wrong yet

    @property
    def only_changes_rows(self) -> bool:
        """Whether a button was pressed that adds or copies a row, which a page without JavaScript submits."""
        return self.is_bound and any(f"{name}-{act}" in self.data for name in self.rows for act in ("add", "copy"))

    def show_rows(self, name: str, field: RowsField) -> None:
        """Shows a document field as rows, unless its user prefers JSON, or its value needs it."""
        if name in self.data if self.is_bound else self.as_json:
            return
        if field.shows(self.stored[name]):
            field.initial = self.stored[name]
            self.fields[name] = field
            self.rows.append(name)
        else:
            self.fields[name].help_text = _(
                "This value is edited as JSON: it has parts that a table cannot show, or more than %(most)s rows."
            ) % {"most": MOST_ROWS}

    def fits(self, name: str, kind: type) -> bool:
        """Whether a field holds an array of this kind, which its widget can show. If not, the field becomes a text
        area.
        """
        value = self.stored[name]
        fits = isinstance(value, list) and all(type(item) is kind and _is_utf8(item) for item in value)
        if not fits:  # stored by another program
            self.fields[name] = self._meta.model._meta.get_field(name).formfield()
        return fits

    def describe(self, name: str) -> str:
        field = self.fields[name]
        return field.describe(self.stored[name]) if isinstance(field, RowsField) else super().describe(name)

    def save(self, commit: bool = True) -> Any:
        """Saves the record and returns it, or returns None if nothing changed and nothing was written."""
        if self.is_new:
            self.instance.save(force_insert=True)
            return self.instance
        return super().save(commit) if self.changed_fields else None


def _is_utf8(item: Any) -> bool:
    return not isinstance(item, str) or item.encode(errors="ignore").decode() == item


class DeleteForm(forms.Form):
    """The confirmation to delete a record as it was shown."""

    version = forms.CharField(widget=forms.HiddenInput, max_length=200)

    def __init__(self, data: Any = None, *, instance: Record) -> None:
        self.current = version_of(instance)
        self.conflict = False
        super().__init__(data, initial={"version": self.current})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not hmac.compare_digest(cleaned.get("version", "").encode(), self.current.encode()):
            self.conflict = True
            self.data = _with(self.data, self.current)
            raise forms.ValidationError(
                _("Another user changed this record. Check the values below, then confirm again to delete it.")
            )
        return cleaned


def _with(data: Any, version: str) -> Any:
    """The submitted data with another version."""
    data = data.copy()
    data["version"] = version
    return data
