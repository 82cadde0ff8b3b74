"""Shows all there is to know of one row: the row, its document, when that was written, whether they are equal, and
the changes that are pending or failed for it. The record's page in the portal shows the same.

Exit status 0: equal, and nothing is pending; 1: not so; 2: a server is out of reach.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError

from sync.core.humanize import counted
from sync.mapping.registry import chosen_targets
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.verification.inspection import Inspection, Side, Verdict, as_json, find_key, inspect

SUMMARY = "show one row, its document, and its changes"
CLEAN = (Verdict.EQUAL, Verdict.GONE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="such as account")
    parser.add_argument("key", metavar="KEY", help="its primary key, which is its document's _id")


def run(options: dict[str, Any], out: Any) -> int:
    targets = chosen_targets([options["model"]])
    model = targets[0].model
    try:
        key = find_key(model, options["key"])
    except ValueError as error:
        raise CommandError(f"{error}.", returncode=2) from error
    found = inspect(model, key, at=targets)
    _print(found, out)
    if errors := [side.error for side in found.sides if side.error]:
        raise Unavailable(errors[0])
    is_clean = all(side.verdict in CLEAN for side in found.sides)
    return 0 if is_clean and all(change.settling for change in found.changes) else 1


def _print(found: Inspection, out: Any) -> None:
    out.write(f"row:       {_text(found.document) if not found.problem else 'cannot be a document'}")
    if found.problem:
        out.write(f"reason:    {found.problem}")
        for name, text in found.plain:
            out.write(f"  {name}: {text}")
    for side in found.sides:
        _print_side(side, out)
    for change in found.changes:
        out.write(f"change:    {_describe(change)}")


def _print_side(side: Side, out: Any) -> None:
    if side.target.name:
        out.write(f"target:    {side.target.name}")
    if not side.error:
        out.write(f"document:  {_text(side.document)}")
        out.write(f"written:   {_written(side)}")
    fields = ", ".join(str(field) for field in side.mismatch.fields) if side.mismatch else ""
    detail = fields if side.verdict is Verdict.DIFFERENT else side.error
    out.write(f"verdict:   {side.verdict.value}" + (f": {detail}" if detail else ""))


def _text(document: dict[str, Any] | None) -> str:
    return "none" if document is None else as_json(document)


def _written(side: Side) -> str:
    if side.document is None:
        return "never"
    if side.written_at is None:
        return "not by the mirror"
    return f"{side.written_at:%Y-%m-%d %H:%M:%S.%f} UTC"


def _describe(change: Change) -> str:
    state = "failed" if change.failed else "settling" if change.settling else "pending"
    if change.claim:
        state += ", being delivered"
    tries = ""
    if change.error:
        tries = f", {counted(change.attempts, 'try', 'tries')}, due {change.due_at:%H:%M:%S}: {change.error}"
    return f"{change.model}: {state} since {change.recorded_at:%Y-%m-%d %H:%M:%S}{tries}"
