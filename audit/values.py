"""Values of fields, compared exactly, and as text in which every character is visible."""

from __future__ import annotations

import unicodedata
from typing import Any

NAMES = {"\t": "⇥", "\n": "⏎", "\r": "␍", "\u00a0": "⍽"}
# Controls, formats (directions, joiners, byte order mark), surrogates, private, unassigned; line and paragraph ends.
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def exact(value: Any) -> str:
    """A text that is equal for two values exactly when they are: including types, and the order of an object's keys."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{exact(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(exact, value)) + "]"
    return f"{type(value).__name__} {value!r}"


def visible(value: Any) -> str:
    """The text of `value`, with each invisible character as a sign or its number; also spaces around it."""
    text = str(value)
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" ")) if inner else len(text)
    after = len(text) - before - len(inner)
    return "␣" * before + "".join(map(_seen, inner)) + "␣" * after


def _seen(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    if character in NAMES:
        return NAMES[character]
    if unicodedata.category(character) in HIDDEN or (unicodedata.category(character) == "Zs"):
        return f"⟨U+{ord(character):04X}⟩"
    return character
