"""The form field of a DocumentField."""

from __future__ import annotations

import json
from typing import Any

from bson import json_util
from django import forms
from django.forms.fields import InvalidJSONInput
from django.utils.translation import gettext as _

from sync.mapping.extended_json import CANONICAL, readable_json
from sync.mapping.limits import REFUSALS, check
from sync.mapping.unreadable import Unreadable

LINE = 100  # characters: a value that fits in one line is not indented


class DocumentFormField(forms.JSONField):
    """Extended JSON in a text area. Refuses what a database could not store exactly, with the reason.

    empty_value: the value of an empty text area; None for null.
    """

    empty_value: Any = None

    def to_python(self, value: Any) -> Any:
        try:
            value = super().to_python(value)
            check(value)
        except forms.ValidationError as error:
            raise _with_place(error, value) from error
        except REFUSALS as error:
            reason = str(error)[:200] or type(error).__name__
            raise forms.ValidationError(_("Cannot store this value: %(reason)s"), params={"reason": reason}) from error
        if value is None:
            return self.empty_value
        # A model does not validate empty values, so it would accept an empty array in place of an object.
        if not value and self.empty_value is not None and type(value) is not type(self.empty_value):
            raise forms.ValidationError(_("Enter %(empty)s for an empty value."), params={"empty": self.empty_value})
        return value

    def bound_data(self, data: Any, initial: Any) -> Any:
        return initial if self.disabled else InvalidJSONInput(data or "")  # as it was typed

    def prepare_value(self, value: Any) -> Any:
        """Also shows what another program has stored and this field would refuse, such as a lone surrogate."""
        if isinstance(value, (InvalidJSONInput, Unreadable)):
            return str(value)
        try:
            readable = readable_json(value)
            short = json.dumps(readable, ensure_ascii=False)
            return short if len(short) <= LINE else json.dumps(readable, ensure_ascii=False, indent=2)
        except REFUSALS:
            return json.dumps(value, default=_as_extended_json)


def _with_place(error: forms.ValidationError, text: Any) -> forms.ValidationError:
    """The error with the line and column of what is not JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as wrong:
        place = {"line": wrong.lineno, "column": wrong.colno}
        return forms.ValidationError(_("This is not JSON: see line %(line)s, column %(column)s."), params=place)
    except (TypeError, RecursionError):
        pass
    return error


def _as_extended_json(value: Any) -> Any:
    return json_util.default(value, CANONICAL)
