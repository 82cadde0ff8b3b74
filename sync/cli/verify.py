"""Compares every row with its document, field by field and type by type, while both are in use, and names what
differs and since when. Keys whose delivery is still to come are not differences; they are counted as pending.

--strict reads every row twice: as delivery does, and as text that the database makes of each column, in which no driver
and no converter has a part. The document has to say the same as both. Takes about twice as long.

--repair has what differs delivered again, at once, with or without a relay. Documents without a row are deleted only
with --prune. A full run that was interrupted goes on with --resume. In cron, use --quiet: it prints nothing as long as
all is equal.

Exit status 0: all equal; 1: differences, or keys still pending, or interrupted; 2: wrong use, or a server is out of
reach.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, OperationalError
from django.utils import timezone
from django.utils.timesince import timesince

from sync.cli.output import dumps
from sync.cli.progress import progress_bar
from sync.core.humanize import counted
from sync.mapping.registry import KAFKA, Target, chosen_targets
from sync.mongodb.errors import Unavailable
from sync.outbox.relay import require_read_committed
from sync.verification.models import Mismatch, Verification
from sync.verification.repair import Repairer
from sync.verification.scan import Scan
from sync.verification.verify import steps, verify
from sync.workers.models import ModelState

SUMMARY = "compare every row with its document, and repair"
SHOWN = 20  # differences named on a terminal; --json names all


def sample(text: str) -> float:
    """An argparse type: a number of keys, or a share such as 1%."""
    number = float(text.removesuffix("%")) / 100 if text.endswith("%") else int(text)
    if number <= 0 or (isinstance(number, float) and number >= 1):
        raise argparse.ArgumentTypeError(f"{text} is neither a number above zero nor a share below 100%")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="such as account; default: all")
    parser.add_argument("--sample", type=sample, metavar="N|P%", help="only so many rows, and documents, at random")
    parser.add_argument("--resume", action="store_true", help="go on where the last full run was interrupted")
    parser.add_argument("--strict", action="store_true", help="compare with the columns' own text, too; see above")
    parser.add_argument("--repair", action="store_true", help="deliver again what differs")
    parser.add_argument("--prune", action="store_true", help="with --repair: delete documents that have no row")
    parser.add_argument("--dry-run", action="store_true", help="with --repair: only say what it would do")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, every difference included")
    parser.add_argument("--quiet", action="store_true", help="print only differences and what is done about them")


def run(options: dict[str, Any], out: Any) -> int:
    targets = [target for target in chosen_targets(options["models"]) if target.queue != KAFKA]
    _refuse_wrong_use(options, targets)
    require_read_committed(DEFAULT_DB_ALIAS)
    results, clean = [], True
    for number, target in enumerate(targets):
        say: Callable[[str], None] = (lambda line: None) if options["json"] else out.write
        scan = Scan(target, DEFAULT_DB_ALIAS, strict=options["strict"])
        repairer = Repairer(scan, prune=options["prune"], dry_run=options["dry_run"], say=say)
        try:
            result = _verify(target, repairer, options)
        except KeyboardInterrupt:
            sys.stderr.write(f"\nInterrupted. {_how_to_go_on(targets[number:], options)}\n")
            return 1
        except (Unavailable, OperationalError) as error:
            error.add_note(_how_to_go_on(targets[number:], options))
            raise
        clean = clean and not (result.found or result.pending)
        if options["json"]:
            results.append(_as_data(result, repairer))
        elif not options["quiet"] or result.found or result.pending or repairer.repaired:
            _print(result, repairer, options, out)
    if options["json"]:
        out.write(dumps(results))
    return 0 if clean else 1


def _refuse_wrong_use(options: dict[str, Any], targets: list[Target]) -> None:
    problem = ""
    if (options["prune"] or options["dry_run"]) and not options["repair"]:
        problem = "--prune and --dry-run are about --repair; add it."
    elif options["resume"] and options["sample"]:
        problem = "A sample is not resumed; take another one."
    elif options["repair"] and not options["dry_run"]:
        paused = sorted(ModelState.objects.paused(DEFAULT_DB_ALIAS) & {target.label for target in targets})
        are, them = ("is", "it") if len(paused) == 1 else ("are", "them")
        problem = f"{', '.join(paused)} {are} paused; to repair {them}, resume {them} before." if paused else ""
    if problem:
        raise CommandError(problem, returncode=2)


def _verify(target: Target, repairer: Repairer, options: dict[str, Any]) -> Verification:
    shown = not options["quiet"]
    total = steps(target, sample=options["sample"]) if shown else 0
    with progress_bar(f"Verifying {target.label}", total, shown) as advance:
        return verify(
            target,
            progress=advance,
            sample=options["sample"],
            resume=options["resume"],
            strict=options["strict"],
            repair=repairer if options["repair"] else None,
        )


def _how_to_go_on(targets: list[Target], options: dict[str, Any]) -> str:
    if options["sample"]:
        return "A sample is not resumed; run it again."
    names = ("strict", "repair", "prune", "dry_run", "json", "quiet")
    switches = [f"--{name.replace('_', '-')}" for name in names if options[name]]
    command = ["manage.py", "sync", "verify", *[target.label for target in targets], "--resume", *switches]
    return f"To go on: {shlex.join(command)}"


def _print(result: Verification, repairer: Repairer, options: dict[str, Any], out: Any) -> None:
    counts = [
        f"{counted(result.compared, 'row', 'rows')} compared",
        f"{result.found:,} different",
        f"{result.pending:,} pending",
    ]
    if options["repair"] and not options["dry_run"]:
        counts.append(f"{repairer.repaired:,} repaired")
    out.write(f"{result.model}: {', '.join(counts)}")
    if options["repair"]:
        return  # each has been named with what was done about it
    for mismatch in result.found_mismatches()[:SHOWN]:
        since = timezone.localtime(mismatch.first_seen)
        out.write(f"  {mismatch}, seen first {since:%Y-%m-%d %H:%M}, {timesince(since)} ago")
    if result.found > SHOWN:
        out.write(f"  and {result.found - SHOWN:,} more; --json names them all")


def _as_data(result: Verification, repairer: Repairer) -> dict[str, Any]:
    return {
        "model": result.model,
        "mode": result.mode,
        "started_at": result.started_at,
        "finished_at": result.finished_at,
        "compared": result.compared,
        "pending": result.pending,
        "repaired": repairer.repaired,
        "mismatches": [_mismatch_as_data(mismatch) for mismatch in result.mismatches],
    }


def _mismatch_as_data(mismatch: Mismatch) -> dict[str, Any]:
    return {
        "model": mismatch.model,
        "key": mismatch.key,
        "kind": mismatch.kind,
        "fields": [field["path"] for field in mismatch.fields],
        "types": {field["path"]: [field["expected"], field["found"]] for field in mismatch.fields},
        "first_seen": mismatch.first_seen,
    }
