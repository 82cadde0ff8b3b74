"""What a page of the docs tells its reader to do: files to write, and commands to type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.servers import ROOT


class Command(NamedTuple):
    """A line of a `sh` block."""

    page: str
    line: str


class File(NamedTuple):
    """A `python` block. Its first line names the file that it goes into, at the end."""

    page: str
    path: str
    text: str


def steps(*pages: str) -> Iterator[Command | File]:
    """The steps of these pages of docs/, in order. Blocks of other languages are to be read only."""
    for page in pages:
        text = (ROOT / "docs" / page).read_text()
        for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if language == "sh":
                yield from (Command(page, line) for line in block.splitlines() if line)
            elif language == "python":
                yield File(page, block.split("\n", 1)[0].removeprefix("# "), block)
