"""`manage.py import_dataset`: loads files of mongoexport and mongodump into both databases."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from finance.delivering import deliver_now
from finance.importing import MODELS, FileImport, NothingToImport, Plan, Rejects, plan
from finance.reading import Piece
from finance.upserting import CREATED, REJECTED, UNCHANGED, UPDATED
from sync.core import mysql

OUTCOMES = (CREATED, UPDATED, UNCHANGED, REJECTED)
SHOWN = 10  # rejects shown on the screen; the rejects file has all of them

EPILOG = """\
PATH is a file from mongoexport (Extended JSON, canonical or relaxed, one document per line or one array, in UTF-8,
UTF-16 or UTF-32), a BSON file from mongodump, either of them compressed with gzip, or a folder of such files. The
command recognizes a file by its first bytes. It refuses other formats, such as CSV, and says what to do.

The file's name selects the model (accounts.json, customers-100.json, transactions.bson.gz). For other names use
--model. Rows are matched by _id. Only new and changed rows are written, so a second run changes nothing. Fields that
the models lack are kept with the row and are delivered to MongoDB.

A record that cannot be loaded is written to the rejects file with its file, line and reason, and the rest is loaded.
Correct the texts there, save them in a file of their own, and import that file.

examples:
  manage.py import_dataset exports/
  manage.py import_dataset dump/
  manage.py import_dataset accounts.json customers.json.gz
  manage.py import_dataset dump.json --model transaction --rejects bad.jsonl

exit status: 0 everything is loaded; 1 some records or files were rejected; 2 wrong use, no file can be read, or the
database is unreachable
"""


class Command(BaseCommand):
    help = (
        "Loads accounts, customers and transactions from the files of mongoexport or mongodump into MySQL and MongoDB."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder of files")
        parser.add_argument("--model", choices=MODELS, help="the files' model, if their names do not tell")
        parser.add_argument(
            "--batch", type=_batch, default=500, metavar="N", help="rows in one transaction, 1 to 5000 (default: 500)"
        )
        parser.add_argument(
            "--rejects", type=Path, metavar="FILE", help="where to write rejects (default: a new file in rejects/)"
        )

    def handle(self, *, paths: list[Path], model: str | None, batch: int, rejects: Path | None, **_: Any) -> None:
        started = datetime.datetime.now(datetime.UTC)
        report = Rejects(rejects or Path("rejects", f"import-{started:%Y%m%d-%H%M%S-%f}.jsonl"))
        try:
            found = plan(paths, MODELS[model] if model else None)
            if report.path.is_dir() or (rejects and not rejects.parent.is_dir()):
                raise NothingToImport(f"the rejects cannot be written to {report.path}")
            if report.path.exists() and any(report.path.samefile(path) for path in found.files):
                raise NothingToImport(f"{report.path} is one of the files to import. Name another file with --rejects")
            self._describe(found)
            counts = self._load(found, batch, report)
        except (NothingToImport, OSError) as error:
            raise CommandError(str(error), returncode=2) from error
        except DatabaseError as error:
            raise CommandError(mysql.reason(error), returncode=2) from error
        except KeyboardInterrupt:
            message = "Stopped. Rows loaded so far are kept. Run the command again to continue."
            raise CommandError(message, returncode=1) from None
        finally:
            report.close()
        self._summarise(found, counts)
        problems = list(found.refused)
        if report.count:
            plural = "record was" if report.count == 1 else "records were"
            problems.append(f"{report.count} {plural} rejected: see {report.path}")
        if problems:
            raise CommandError("\n".join(problems), returncode=1)

    def _describe(self, found: Plan) -> None:
        """Reports every file that is not plain JSON in UTF-8."""
        for path, form in found.formats.items():
            if form.note:
                self.stdout.write(_printable(f"{path.name}: {form.note}"))

    def _load(self, found: Plan, batch: int, report: Rejects) -> dict[Path, Counter[str]]:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:

            def name_reject(path: Path, piece: Piece, reason: str) -> None:
                if report.count <= SHOWN:
                    text = f"{path.name}:{piece.line}: {reason}"
                    console.print(_printable(text), markup=False, highlight=False, soft_wrap=True)

            for model in set(found.files.values()):
                model.objects.exists()  # reports an unreachable database before anything is read
            tasks = {path: progress.add_task(path.name, total=path.stat().st_size) for path in found.files}
            counts = {}
            for path, model in found.files.items():
                counts[path] = FileImport(
                    path, model, batch, report, found.formats[path],
                    progress=partial(_advance, progress, tasks[path]), rejected=partial(name_reject, path),
                ).run()  # fmt: skip
                progress.update(tasks[path], completed=path.stat().st_size)
        return counts

    def _summarise(self, found: Plan, counts: dict[Path, Counter[str]]) -> None:
        width = max(len(path.name) for path in found.files)
        self.stdout.write(f"{'':{width}}  " + "".join(f"{kind:>10}" for kind in OUTCOMES))
        for path, count in counts.items():
            self.stdout.write(f"{path.name:{width}}  " + "".join(f"{count[kind]:10,}" for kind in OUTCOMES))
        for path, why in found.skipped.items():
            self.stdout.write(f"{path.name}: {why}")
        self.stdout.write(deliver_now())


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _advance(progress: Progress, task: TaskID, position: int) -> None:
    progress.update(task, completed=position)


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 5000:
        raise argparse.ArgumentTypeError("a whole number from 1 to 5000, please")
    return int(text)
