"""The journal of one schedule: a file to which all writers append the states that they may have committed.

Each line is written by one system call, so that kill -9 leaves whole lines. A row's possible state is written before
its transaction commits; the outcome of the transaction is written after it, if it is known.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Journal:
    """Appends a writer's entries to the journal."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *entry: Any) -> None:
        os.write(self.file, (json.dumps(entry) + "\n").encode())


@dataclass
class Account:
    """The content of a journal.

    may: by key, the stamps its row may have had, each with the rest of the row if the writer has read it.
    never: by key, the stamps of transactions that are known to have been rolled back.
    """

    may: dict[str, dict[int, Any]] = field(default_factory=lambda: defaultdict(dict))
    never: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    committed: int = 0
    rolled_back: int = 0
    verify: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def read(path: Path) -> Account:
    """Return the content of the journal at `path`."""
    account = Account()
    states: dict[str, dict[str, Any]] = {}
    ends: dict[str, bool] = {}
    if not path.exists():
        return account
    for line in path.read_text().splitlines():
        account.lines.append(line)
        match json.loads(line):
            case ["may", transaction, found]:
                states[transaction] = found
            case ["end", transaction, committed]:
                ends[transaction] = committed
            case ["verify", difference]:
                account.verify.append(difference)
    account.committed = sum(ends.values())
    account.rolled_back = len(ends) - account.committed
    for transaction, found in states.items():
        for key, (stamp, *rest) in found.items():
            if ends.get(transaction, True):
                account.may[key][stamp] = rest if rest[0] is not None else account.may[key].get(stamp, rest)
            else:
                account.never[key].add(stamp)
    return account
