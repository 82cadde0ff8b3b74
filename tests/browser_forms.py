"""Reads a page's forms as a browser does: their controls, and what an unedited form submits.

Follows https://html.spec.whatwg.org/multipage/form-control-infrastructure.html and shares no code with the portal, so
that the two can be compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

# What a user could type, by the name of the control.
TRADES = (
    '[{"date": {"$date": "2020-01-31T00:00:00Z"}, "amount": 2, "symbol": "ibm", "transaction_code": "buy", '
    '"price": "1", "total": "2"}]'
)
FILLS = {
    "name": "Own", "email": "own@example.com", "first_name": "X", "last_name": "Y", "username": "somebody",
    "limit": "5", "account_id": "77", "account": "1", "products": "Brokerage", "transactions": TRADES,
    "birthdate": "1990-01-01", "accounts": "1, 2", "transaction_count": "0", "bucket_start_date": "2020-01-01",
    "bucket_end_date": "2020-01-02", "tier_and_details": "{}", "password1": "taken-over-99", "address": "A street",
    "password2": "taken-over-99", "extra": "{}", "post": "yes", "confirm": "on",
}  # fmt: skip


@dataclass
class Control:
    """A form control. kind: the type of an input, or "textarea" or "select".

    values: what it submits unedited, which may be nothing. choices: what else it could submit.
    """

    name: str
    kind: str
    values: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    multiple: bool = False


@dataclass
class Form:
    method: str
    action: str
    controls: list[Control] = field(default_factory=list)

    @property
    def sent(self) -> dict[str, list[str]]:
        """The values that a browser submits for the unedited form, by name."""
        data: dict[str, list[str]] = {}
        for control in self.controls:
            if control.name and control.values:
                data.setdefault(control.name, []).extend(control.values)
        return data

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(control.name for control in self.controls if control.name))


def forms(html: str) -> list[Form]:
    """All forms of a page."""
    reader = _Reader()
    reader.feed(re.sub(r"\r\n?", "\n", html).replace("\0", "\ufffd"))
    reader.close()
    return reader.forms


def filled(form: Form) -> dict[str, Any]:
    """What the form submits once its required fields are filled in."""
    data: dict[str, Any] = dict(form.sent)
    for control in form.controls:
        typed = FILLS.get(control.name.rpartition("-")[2])
        if typed and control.kind not in ("file", "submit", "checkbox", "select"):
            data[control.name] = [typed]
        if control.kind == "submit" and control.name:
            data[control.name] = control.choices[:1]
    return data


def edit_form(html: str) -> Form:
    """The form that edits the page's record: the POST form with the most controls."""
    return max((form for form in forms(html) if form.method == "post"), key=lambda form: len(form.controls))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.open: Form | None = None
        self.control: Control | None = None
        self.text: list[str] = []
        self.option_is_chosen = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.open = Form(given.get("method", "get").lower(), given.get("action", ""))
            self.forms.append(self.open)
        if self.open is None or "disabled" in given:
            return
        if tag == "input":
            self._input(given)
        elif tag in ("textarea", "select"):
            self.control = Control(given.get("name", ""), tag, multiple="multiple" in given)
            self.open.controls.append(self.control)
            self.text = []
        elif tag == "option" and self.control is not None:
            value = given.get("value", "")
            self.control.choices.append(value)
            if "selected" in given:
                self.control.values = [*self.control.values, value] if self.control.multiple else [value]

    def _input(self, given: dict[str, str]) -> None:
        assert self.open is not None
        kind, name, value = given.get("type", "text").lower(), given.get("name", ""), given.get("value", "")
        if kind in ("submit", "button", "image", "reset", "file"):
            self.open.controls.append(Control(name, kind, [], [value]))
            return
        if kind in ("checkbox", "radio"):
            value = given.get("value", "on")
            self.open.controls.append(Control(name, kind, [value] if "checked" in given else [], [value]))
            return
        if kind != "hidden":
            value = value.replace("\n", "")
        if kind in ("email", "url"):
            value = value.strip(" \t\n\f\r")
        if kind == "number" and not re.fullmatch(r"-?(\d+(\.\d+)?|\.\d+)([eE][-+]?\d+)?", value, re.ASCII):
            value = ""
        if kind == "date" and not re.fullmatch(r"\d{4,}-\d\d-\d\d", value, re.ASCII):
            value = ""
        self.open.controls.append(Control(name, kind, [re.sub(r"\n", "\r\n", value)]))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.open = None
        elif tag == "textarea" and self.control is not None:
            text = "".join(self.text).removeprefix("\n")
            self.control.values = [text.replace("\n", "\r\n")]
            self.control = None
        elif tag == "select" and self.control is not None:
            if not self.control.values and not self.control.multiple:
                self.control.values = self.control.choices[:1]
            self.control = None
