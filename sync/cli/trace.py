"""Shows one record: the row, its documents, the last delivery, whether they are in sync, and the
pending and failed changes. The record's page on the console shows the same.

examples:
  manage.py sync trace account 5ca4bbc7a2dd94ee58162391

exit status:
  0  in sync, and nothing is pending or failed
  1  different, or a change is pending or failed
  2  no such model or key, or a server is unreachable

Next: `manage.py sync retry MODEL KEY` delivers the row again.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError

from sync.core.humanize import clock, counted, moment
from sync.mapping.registry import chosen_targets
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.verification.inspection import Inspection, Side, Verdict, as_json, find_key, inspect

SUMMARY = "show one row, its documents and its changes"
CLEAN = (Verdict.EQUAL, Verdict.GONE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model, such as account")
    parser.add_argument("key", metavar="KEY", help="the row's primary key, which is the document's _id")


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
    out.write(f"row:       {_text(found.document) if not found.problem else 'cannot be converted to a document'}")
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
    return moment(side.written_at)


def _describe(change: Change) -> str:
    state = "failed" if change.failed else "settling" if change.settling else "pending"
    if change.claim:
        state += ", in flight"
    tries = ""
    if change.error:
        tries = f", {counted(change.attempts, 'attempt', 'attempts')}, due {clock(change.due_at)}: {change.error}"
    what = f"{change.model}, fan-out of {change.via} {change.until}" if change.via else change.model
    return f"{what}: {state} since {moment(change.recorded_at)}{tries}"
