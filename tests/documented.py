"""The steps in a page of the docs: files to write, and commands to run."""

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
    """A `python` block. Its first line names the file to append it to."""

    page: str
    path: str
    text: str


def steps(*pages: str) -> Iterator[Command | File]:
    """The steps of these pages of docs/, in order. Blocks in other languages are not steps."""
    for page in pages:
        text = (ROOT / "docs" / page).read_text()
        for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if language == "sh":
                yield from (Command(page, line) for line in block.splitlines() if line)
            elif language == "python":
                yield File(page, block.split("\n", 1)[0].removeprefix("# "), block)


def block(page: str, heading: str) -> list[str]:
    """The lines of the first `text` block below a heading of a page: commands that need more than the portal."""
    section = (ROOT / "docs" / page).read_text().split(f"\n## {heading}\n", 1)[1]
    return re.findall(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[0].splitlines()
