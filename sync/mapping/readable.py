"""Forms for rows read by `sync.mapping.reading.exact`: a value that cannot be read is shown and can be replaced."""

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

    A text field shows the stored text; any other field starts empty and shows the text beside it. A form that saves
    must write only edited fields: the mirror refuses to write back what it could not read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (stored, why) in unreadable(self.instance).items():
            field = self.fields.get(name)
            if field is not None:
                if not self._shows_text(name, field):
                    self.initial[name] = None
                text = _("The stored value “%(stored)s” cannot be read: %(why)s. Enter a valid value.")
                field.help_text = text % {"stored": Truncator(stored).chars(SHOWN), "why": why}

    def _shows_text(self, name: str, field: forms.Field) -> bool:
        """Whether the field shows a stored text unchanged."""
        is_text = isinstance(field.widget, TEXT) and not isinstance(field.widget, DateTimeBaseInput)
        return is_text or isinstance(self.instance._meta.get_field(name), JSONField)


def unreadable(row: Any) -> dict[str, tuple[str, str]]:
    """By field name, the stored text and why it cannot be read, for a row that `exact` has read."""
    names = getattr(row, "unreadable", {})
    return {name: (str(row.__dict__.get(row._meta.get_field(name).attname)), why) for name, why in names.items()}
