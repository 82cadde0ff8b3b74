"""Forms for rows that `sync.reading.exact` has read: what cannot be read is shown, and entered anew."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import JSONField
from django.forms.widgets import DateTimeBaseInput
from django.utils.text import Truncator
from django.utils.translation import gettext as _

SHOWN = 200  # characters of a stored text
TEXT = (forms.Textarea, forms.TextInput)


class ReadableForm(forms.ModelForm):
    """A mixin for a ModelForm: a value that cannot be read does not stop the form.

    A field that takes text shows what is stored; any other begins empty and shows it beside. While a column that
    cannot be read has no new value, the row is not saved: Django would write the others, and the mirror refuses that.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (stored, why) in unreadable(self.instance).items():
            field = self.fields.get(name)
            if field is not None:
                if not self._shows_text(name, field):
                    self.initial[name] = None
                text = _("Stored is “%(stored)s”, which cannot be read: %(why)s. Enter the right value.")
                field.help_text = text % {"stored": Truncator(stored).chars(SHOWN), "why": why}

    def _shows_text(self, name: str, field: forms.Field) -> bool:
        """Whether the field shows a stored text as it is."""
        is_text = isinstance(field.widget, TEXT) and not isinstance(field.widget, DateTimeBaseInput)
        return is_text or isinstance(self.instance._meta.get_field(name), JSONField)

    def clean(self) -> Any:
        cleaned = super().clean()
        edited = self.edited if hasattr(self, "edited") else self.changed_data
        left = {name: why for name, (_stored, why) in unreadable(self.instance).items() if name not in edited}
        if left and edited:
            reasons = "; ".join(f"{name}: {why}" for name, why in left.items())
            text = _("This was not saved, because a stored value cannot be read (%(reasons)s). Enter the right value, "
                     "or correct it in the database if this form does not show it.")  # fmt: skip
            raise forms.ValidationError(text, params={"reasons": reasons})
        return cleaned


def unreadable(row: Any) -> dict[str, tuple[str, str]]:
    """By field name the stored text and why it cannot be read, of a row that `exact` has read."""
    names = getattr(row, "unreadable", {})
    return {name: (str(row.__dict__.get(row._meta.get_field(name).attname)), why) for name, why in names.items()}
