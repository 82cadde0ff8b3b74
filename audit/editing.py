"""Forms that edit a row. They change what a user edited, and nothing else.

1. A field is edited if the submitted value differs from what a browser sends for the page that shows the stored value.
So a control that cannot show a value exactly (CRLF, microseconds, NUL, a number's type) does not change it.
2. An unedited field is neither validated nor written: another program may have stored what this form would refuse. An
edited field with the same resulting value, including its type, is not written either.
3. The form carries the version of the row that its user has read. If the row has another version by now, the form is
invalid, `conflict` is true, and it says what is stored now. Unedited fields show that; edited ones keep what was typed.
Saving again is then a decision.

The view locks the row from reading to writing it.
"""

from __future__ import annotations

import datetime
import hmac
from collections.abc import Iterable
from typing import Any

from django import forms
from django.db.models import Model
from django.forms.boundfield import BoundField
from django.http import QueryDict
from django.utils.crypto import salted_hmac
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from audit.controls import LINE_ENDS, Controls
from audit.models import Entry
from audit.values import exact, visible

UNWATCHED = frozenset({"last_login"})  # each login writes it, and no form does
SHOWN = 200  # characters of a value in the message about a conflict


def version_of(row: Model) -> str:
    """A hash of the whole row that a client cannot forge."""
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return _hash(row, "", exact({name: value for name, value in values.items() if name not in UNWATCHED}))


class EditForm(forms.ModelForm):
    """A ModelForm that preserves unedited fields and detects conflicts. See the module's docstring."""

    version = forms.CharField(widget=forms.HiddenInput, required=False, max_length=2000, strip=False)
    version_required = False  # without it, a form submitted without a version, for example by a script, has no conflict

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conflict = False
        self.is_new = self.instance._state.adding
        self.stored = {field.attname: getattr(self.instance, field.attname) for field in self._columns}
        self.fit()
        # Created before any data is read, because some widgets show that data afterwards.
        self.pages = {} if self.is_new else {name: self._page(self[name]) for name in self._editable}
        self.current = "" if self.is_new else self._version()
        self.initial["version"] = self.current

    def fit(self) -> None:
        """Adapts the fields to the row, before its version is computed."""

    # --- what was edited --------------------------------------------------------------------------------------------

    @cached_property
    def edited(self) -> list[str]:
        """The names of the fields whose submitted value differs from what a browser sends for the stored row."""
        return [name for name in self._editable if self.is_new or self._sent(name) != self._shown(name)]

    @cached_property
    def changed_data(self) -> list[str]:
        """The edited fields with a different resulting value."""
        columns = {field.name: field.attname for field in self._columns}
        return [name for name in self.edited if name not in columns or self.is_new or self._is_changed(columns[name])]

    @property
    def changed_fields(self) -> list[str]:
        """The columns of the row that have changed: what a save has to write."""
        return [field.name for field in self._columns if self._is_changed(field.attname)]

    def save(self, commit: bool = True) -> Any:
        """Like ModelForm.save, but writes only the changed columns; nothing at all if there are none."""
        if not commit or self.is_new:
            return super().save(commit)
        save_changes(self.instance, self.changed_fields)
        self._save_m2m()  # type: ignore[attr-defined]
        return self.instance

    def _is_changed(self, attname: str) -> bool:
        value, stored = getattr(self.instance, attname), self.stored[attname]
        return value is not stored and exact(value) != exact(stored)

    @cached_property
    def _columns(self) -> list[Any]:
        return list(self.instance._meta.concrete_fields)

    @property
    def _editable(self) -> list[str]:
        return [name for name, field in self.fields.items() if name != "version" and not field.disabled]

    def _clean_fields(self) -> None:
        every = self.fields
        self.fields = {name: field for name, field in every.items() if name == "version" or name in self.edited}
        try:
            super()._clean_fields()  # type: ignore[misc]
        finally:
            self.fields = every
        for name, value in self.cleaned_data.items():
            self.cleaned_data[name] = _with_hidden_part(value, self.stored.get(name))

    def _get_validation_exclusions(self) -> set[str]:
        return super()._get_validation_exclusions() | self._kept  # type: ignore[misc]

    def validate_unique(self) -> None:
        """Checks all fields: an edited one may be unique together with an unedited one."""
        exclude = super()._get_validation_exclusions()  # type: ignore[misc]
        try:
            self.instance.validate_unique(exclude=exclude)
            self.instance.validate_constraints(exclude=exclude)
        except forms.ValidationError as error:
            self._update_errors(error)  # type: ignore[attr-defined]

    def _post_clean(self) -> None:
        if not self.edited:
            return
        super()._post_clean()  # type: ignore[misc]
        for field in self._columns:  # which a model's clean() may have normalized
            if field.name in self._kept and not self.is_new:
                self.instance.__dict__[field.attname] = self.stored[field.attname]

    @cached_property
    def _kept(self) -> set[str]:
        return {field.name for field in self._columns} - set(self.edited)

    def _widget_data_value(self, widget: forms.Widget, html_name: str) -> Any:
        value = super()._widget_data_value(widget, html_name)  # type: ignore[misc]
        # A browser sends CRLF for each line end of a text area, whatever was stored.
        is_text = isinstance(widget, forms.Textarea) and isinstance(value, str)
        return LINE_ENDS.sub("\n", value) if is_text else value

    def _page(self, bound: BoundField) -> Controls:
        """The page's value for the stored value of a field."""
        widget, value = bound.field.widget, bound.field.prepare_value(self._initial(bound))
        return Controls.of(widget.render(bound.html_name, value, renderer=self.renderer))

    def _initial(self, bound: BoundField) -> Any:
        return self.get_initial_for_field(bound.field, bound.name)

    def _shown(self, name: str) -> str:
        bound, page = self[name], self.pages[name]
        return page.canonical(bound.field.widget.value_from_datadict(page.sent, {}, bound.html_name))

    def _sent(self, name: str) -> str:
        bound = self[name]
        value = bound.field.widget.value_from_datadict(self.data, self.files, bound.html_name)
        return self.pages[name].canonical(value)

    # --- conflicts --------------------------------------------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        sent = str(self.data.get("version", ""))
        unchecked = self.is_new or ("version" not in self.data and not self.version_required)
        if not unchecked and not hmac.compare_digest(sent.encode(errors="replace"), self.current.encode()):
            self.conflict = True
            changed = self._changed_meanwhile(sent)
            self._show_again(sent, changed)
            raise forms.ValidationError(
                _(
                    "%(who)s changed this record. Stored now: %(stored)s. Below, what you edited is as you "
                    "entered it, and everything else as it is stored. Save again to store what you see below."
                ),
                params={"who": self._who(), "stored": self._in_words(changed)},
            )
        return cleaned

    def _version(self) -> str:
        """The row's hash, and one of each field as shown, so that a later post tells which fields were edited."""
        return ".".join([version_of(self.instance), *(self._field_hash(n, self._shown(n)) for n in self._editable)])

    def _field_hash(self, name: str, shown: str) -> str:
        return _hash(self.instance, name, shown)

    def _seen(self, sent: str) -> dict[str, str]:
        """By field, the hash of what the user has seen; empty if the version is not one of this form's."""
        hashes = sent.split(".")[1:]
        return dict(zip(self._editable, hashes, strict=True)) if len(hashes) == len(self._editable) else {}

    def _changed_meanwhile(self, sent: str) -> list[str]:
        seen, now = self._seen(sent), self._seen(self.current)
        return [name for name in self._editable if seen.get(name) != now[name]]

    def _show_again(self, sent: str, changed: Iterable[str]) -> None:
        """The data of the next page: the row's current version, and its values in unedited fields."""
        data, seen = QueryDict(mutable=True), self._seen(sent)
        data.update(self.data)
        data["version"] = self.current
        for name in changed:
            if seen.get(name) == self._field_hash(name, self._sent(name)):
                for control in [each for each in data if each.startswith(f"{name}-")]:
                    del data[control]  # rows that the field has no more
                for control, values in self.pages[name].sent.lists():
                    data.setlist(control, values)
        self.data = data

    def _who(self) -> str:
        kept = Entry.objects.filter(model=self.instance._meta.label_lower, key=str(self.instance.pk))
        if newest := kept.order_by("-pk").first():
            return _("%(who)s (last entry of the audit log: %(when)s UTC) or another program") % {
                "who": newest.who or _("A command"), "when": f"{newest.at:%Y-%m-%d %H:%M:%S}",
            }  # fmt: skip
        return _("Another user")

    def _in_words(self, changed: list[str]) -> str:
        words = []
        for name in changed:
            label = capfirst(str(self.fields[name].label or name))
            words.append(f"{label}: {visible(self.describe(name))[:SHOWN] or _('nothing')}")
        return "; ".join(words) or _("what you see below, and values that this form does not show")

    def describe(self, name: str) -> str:
        """The stored value of a field as text."""
        value = self[name].field.prepare_value(self._initial(self[name]))
        return ", ".join(map(str, value)) if isinstance(value, list) else str("" if value is None else value)


def save_changes(row: Model, changed: list[str]) -> None:
    """Writes these columns of a stored row; nothing if there are none."""
    if changed:
        row.save(update_fields=changed)


def _hash(row: Model, name: str, text: str) -> str:
    salt = f"audit.editing {row._meta.label_lower} {row.pk} {name}"
    return salted_hmac(salt, text.encode(errors="surrogatepass"), algorithm="sha256").hexdigest()[:24]


def _with_hidden_part(value: Any, stored: Any) -> Any:
    """A moment whose time is unchanged keeps the stored fraction of a second, which no control shows."""
    if isinstance(value, datetime.datetime) and isinstance(stored, datetime.datetime) and value.tzinfo:
        time = stored.astimezone(value.tzinfo).time()
        if time.replace(microsecond=0) == value.time():
            return value.replace(microsecond=time.microsecond)
    return value
