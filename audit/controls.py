"""What a browser sends for a piece of HTML whose controls the user has not touched.

https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#constructing-the-form-data-set
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from django.http import QueryDict

from audit.values import exact

LINE_ENDS = re.compile(r"\r\n?")
DAY = re.compile(r"[0-9]{4,}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class Controls:
    """The controls in a piece of HTML, and what a browser sends for them if the user does not touch them.

    sent: by control's name; without values for an unchecked box. lines: whether text may have several.
    trimmed: whether the browser removes spaces around the text.
    """

    sent: QueryDict
    lines: bool
    trimmed: bool

    @classmethod
    def of(cls, html: str) -> Controls:
        parser = _Parser()
        parser.feed(html)
        parser.close()
        return cls(parser.sent, parser.lines, parser.trimmed)

    def canonical(self, value: Any) -> str:
        """A widget's value in canonical form. Equal for two values that the browser does not distinguish."""
        if isinstance(value, (list, tuple, set)):
            return "[" + ",".join(sorted(map(self.canonical, value))) + "]"
        if not isinstance(value, str):
            return exact(value)
        text = LINE_ENDS.sub("\n", value.replace("\0", "\ufffd"))
        text = text if self.lines else text.replace("\n", "")
        return exact(text.strip(" \t\f") if self.trimmed else text)


class _Parser(HTMLParser):
    """Finds the controls."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = QueryDict(mutable=True)
        self.lines = self.trimmed = False
        self.textarea: str | None = None
        self.text = ""
        self.select: str | None = None
        self.options: list[tuple[str, bool]] = []
        self.multiple = False
        self.templates = 0  # open <template> elements, whose controls are not part of the form

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name, kind = given.get("name", ""), given.get("type", "text")
        if tag == "template":
            self.templates += 1
        elif self.templates:
            return
        elif tag == "textarea":
            self.textarea, self.text, self.lines = name, "", True
        elif tag == "select":
            self.select, self.options, self.multiple = name, [], "multiple" in given
        elif tag == "option" and self.select is not None:
            self.options.append((given.get("value", ""), "selected" in given))
        elif tag == "input" and name and "disabled" not in given and kind not in ("file", "submit", "button"):
            self.trimmed |= kind in ("email", "url")
            value = given.get("value", "on" if kind in ("checkbox", "radio") else "")
            if kind == "date" and not DAY.fullmatch(value):
                value = ""  # a browser's date picker is empty then
            if kind not in ("checkbox", "radio") or "checked" in given:
                self.sent.appendlist(name, value)
            else:
                self.sent.setlistdefault(name)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "template":
            self.templates -= 1
        elif tag == "textarea" and self.textarea is not None:
            text = LINE_ENDS.sub("\n", self.text)
            self.sent.appendlist(self.textarea, text.removeprefix("\n"))
            self.textarea = None
        elif tag == "select" and self.select is not None:
            chosen = [value for value, selected in self.options if selected]
            if not self.multiple:
                chosen = chosen[-1:] or [value for value, _selected in self.options[:1]]
            self.sent.setlist(self.select, chosen)
            self.select = None
