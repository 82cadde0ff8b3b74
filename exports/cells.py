"""What a cell of a CSV file holds, so that no spreadsheet takes data for a formula."""

from __future__ import annotations

import datetime
import json
import re
from decimal import Decimal
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

# Where a spreadsheet would begin to compute: at the start of a cell, and at the start of what it takes for one when its
# locale separates cells by semicolons or tabs, or does not see the quotes around a line break. It skips blanks and
# what cannot be seen, and takes full-width signs for the others.
# A quote after another separator opens a cell too, so quotes are skipped as well.
SKIPPED = r"\s\x00-\x20\x7f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff" + '"'
# A sign with the whole run of separators and skipped characters before it, so that a long run is read once only.
SIGN = re.compile(rf"(?<![;|{SKIPPED}])[;|{SKIPPED}]*+(?=[=+\-@＝＋－＠])")  # noqa: RUF001
SEPARATOR = re.compile(r"[;|\t\r\n]")
BLANK = re.compile(r"^(?=[\t\r\n])")


class _Encoder(DjangoJSONEncoder):
    """Takes whatever a row holds: what JSON does not know is written as text."""

    def default(self, o: Any) -> Any:
        try:
            return super().default(o)
        except TypeError:
            return str(o)


def cell(value: Any) -> Any:
    """What a cell holds. Numbers stay. In text, an apostrophe stands before whatever a spreadsheet would compute."""
    if value is None or value == {}:
        return ""
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}" if abs(value.adjusted()) < 100 else str(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, dict):
        value = json.dumps(value, cls=_Encoder, ensure_ascii=False)
    elif isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return BLANK.sub("'", SIGN.sub(_disarmed, str(value)))


def _disarmed(run: re.Match[str]) -> str:
    """What precedes a sign, with an apostrophe where a spreadsheet would take the sign for the start of a cell."""
    return f"{run[0]}'" if run.start() == 0 or SEPARATOR.search(run[0]) else run[0]
