"""A column that Python cannot hold."""

from __future__ import annotations

from typing import Any


class Unreadable(str):
    """The text of a column that Python cannot hold as the field's value; `why` has the reason."""

    why: str

    def __new__(cls, value: Any, why: str) -> Unreadable:
        text = (
            value if isinstance(value, str) else value.decode(errors="replace") if isinstance(value, bytes) else value
        )
        made = super().__new__(cls, text)
        made.why = why
        return made

    def __reduce__(self) -> Any:
        return Unreadable, (str(self), self.why)
