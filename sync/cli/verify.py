"""Compares every row with its document, field by field and type by type, while applications use both
databases. Prints each mismatch and when a run first found it. Keys with undelivered changes are
counted as pending, not as mismatches.

--strict reads every row twice: as delivery does, and as text that the database makes of each
column, without any driver or converter. The document has to match both. It takes about twice as
long.

--repair delivers mismatched rows again at once, with or without a relay. It deletes documents
without a row only with --prune. --resume continues a full run that was interrupted.

examples:
  manage.py sync verify                              every model
  manage.py sync verify account --sample 1%          a random sample
  manage.py sync verify account --repair --dry-run   show what a repair would do
  manage.py sync verify account --repair --prune     repair, and delete documents without a row
  manage.py sync verify --processes 4                four processes share the ranges of keys
  manage.py sync verify --quiet                      in cron: prints nothing while everything is in sync

exit status:
  0  in sync
  1  mismatches, pending changes, or interrupted
  2  wrong usage, or a server is unreachable

Next: `manage.py sync trace MODEL KEY` shows one mismatch; --repair repairs all of them.
"""

import argparse
import functools
import shlex
import sys
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, OperationalError
from django.utils.timesince import timesince

from sync.cli.arguments import positive
from sync.cli.output import dumps
from sync.cli.progress import progress_bar
from sync.core.humanize import counted, moment
from sync.mapping.registry import Target, chosen_targets
from sync.mongodb.errors import Unavailable
from sync.outbox.relay import require_read_committed
from sync.verification.models import Mismatch, Verification
from sync.verification.repair import Repairer
from sync.verification.scan import Scan
from sync.verification.shared import SharedRun
from sync.verification.verify import Run, steps, verify
from sync.workers.models import ModelState
from sync.workers.processes import pool

SUMMARY = "compare every row with its document, and repair mismatches"
SHOWN = 20  # mismatches printed; --json prints all


def sample(text: str) -> float:
    """Return a number of keys, or a share below 1 for a percentage such as 1%. An argparse type."""
    number = float(text.removesuffix("%")) / 100 if text.endswith("%") else int(text)
    if number <= 0 or (isinstance(number, float) and number >= 1):
        raise argparse.ArgumentTypeError(f"{text} is neither a number above zero nor a percentage below 100%")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="a model, such as account; default: all")
    parser.add_argument("--sample", type=sample, metavar="N|P%", help="compare a random sample of rows and documents")
    parser.add_argument("--resume", action="store_true", help="continue the last full run where it was interrupted")
    parser.add_argument("--strict", action="store_true", help="also compare with the text of each column; see above")
    parser.add_argument("--repair", action="store_true", help="deliver mismatched rows again")
    parser.add_argument("--prune", action="store_true", help="with --repair: delete documents without a row")
    parser.add_argument("--dry-run", action="store_true", help="with --repair: print the repairs, and write nothing")
    parser.add_argument(
        "--processes", type=positive(int), default=1, help="processes that share the ranges (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, with every mismatch")
    parser.add_argument("--quiet", action="store_true", help="print only mismatches and their repair")


def run(options: dict[str, Any], out: Any) -> int:
    targets = [target for target in chosen_targets(options["models"]) if target.kind.readable]
    _refuse_wrong_use(options, targets)
    require_read_committed(DEFAULT_DB_ALIAS)
    with pool(options["processes"]) as shared:
        kind = functools.partial(SharedRun, pool=shared, processes=options["processes"])
        return _run(targets, options, out, kind if options["processes"] > 1 else Run)


def _run(targets: list[Target], options: dict[str, Any], out: Any, kind: Any) -> int:
    results, clean = [], True
    for number, target in enumerate(targets):
        say: Callable[[str], None] = (lambda line: None) if options["json"] else out.write
        scan = Scan(target, DEFAULT_DB_ALIAS, strict=options["strict"])
        repairer = Repairer(scan, prune=options["prune"], dry_run=options["dry_run"], say=say)
        try:
            result = _verify(target, repairer, options, kind)
        except KeyboardInterrupt:
            sys.stderr.write(f"\nInterrupted. {_how_to_continue(targets[number:], options)}\n")
            return 1
        except (Unavailable, OperationalError) as error:
            error.add_note(_how_to_continue(targets[number:], options))
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
        problem = "--prune and --dry-run need --repair. Add it."
    elif options["resume"] and options["sample"]:
        problem = "A sample cannot be resumed. Leave out --resume to take a new one."
    elif options["processes"] > 1 and options["sample"]:
        problem = "A sample has one process. Leave out --processes."
    elif options["repair"] and not options["dry_run"]:
        paused = sorted(ModelState.objects.paused(DEFAULT_DB_ALIAS) & {target.label for target in targets})
        are, them = ("is", "it") if len(paused) == 1 else ("are", "them")
        resume = f"Resume {them} first: manage.py sync resume {' '.join(paused)}"
        problem = f"{', '.join(paused)} {are} paused and cannot be repaired. {resume}" if paused else ""
    if problem:
        raise CommandError(problem, returncode=2)


def _verify(target: Target, repairer: Repairer, options: dict[str, Any], kind: Any) -> Verification:
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
            kind=kind,
        )


def _how_to_continue(targets: list[Target], options: dict[str, Any]) -> str:
    if options["sample"]:
        return "A sample cannot be resumed. Run the command again."
    names = ("strict", "repair", "prune", "dry_run", "json", "quiet")
    switches = [f"--{name.replace('_', '-')}" for name in names if options[name]]
    if options["processes"] > 1:
        switches += ["--processes", str(options["processes"])]
    command = ["manage.py", "sync", "verify", *[target.label for target in targets], "--resume", *switches]
    return f"To continue: {shlex.join(command)}"


def _print(result: Verification, repairer: Repairer, options: dict[str, Any], out: Any) -> None:
    counts = [
        f"{counted(result.compared, 'row', 'rows')} compared",
        counted(result.found, "mismatch", "mismatches"),
        f"{result.pending:,} pending",
    ]
    if options["repair"] and not options["dry_run"]:
        counts.append(f"{repairer.repaired:,} repaired")
    out.write(f"{result.model}: {', '.join(counts)}")
    if options["repair"]:
        return  # the repairer has printed each mismatch with its repair
    for mismatch in result.found_mismatches()[:SHOWN]:
        out.write(f"  {mismatch}, first seen {moment(mismatch.first_seen)}, {timesince(mismatch.first_seen)} ago")
    if result.found > SHOWN:
        out.write(f"  and {result.found - SHOWN:,} more; --json prints all of them")


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
