"""The engine of `import_dataset`: reads files into rows in batches and reports what could not be loaded."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from finance.decoding import Rejected, decode
from finance.models import Record
from finance.reading import Piece, Reader
from finance.recognising import Format, NothingToImport, recognise
from finance.upserting import REJECTED, upsert
from sync.models import MirroredModel

MODELS: dict[str, type[Record]] = {str(model._meta.model_name): model for model in Record.__subclasses__()}
NAMES = MODELS | {model.mirror.collection: model for model in MODELS.values()}
DATA_FILE = re.compile(r"(?<!\.metadata)\.(json|jsonl|ndjson|bson)(\.gz)?$", re.IGNORECASE)
METADATA = re.compile(r"\.metadata\.json(\.gz)?$", re.IGNORECASE)
MODEL_NAME = re.compile(rf"(?<![a-z])({'|'.join(NAMES)})(?![a-z])", re.IGNORECASE)
BATCH_CHARACTERS = 4 << 20  # leaves room for escapes below MySQL's longest statement: 16 MiB


def model_of(path: Path) -> type[MirroredModel] | None:
    """The model that a file's name refers to, as in accounts.json, customers-100.json or db.transactions.json.gz."""
    models = {NAMES[name.lower()] for name in MODEL_NAME.findall(path.name)}
    return models.pop() if len(models) == 1 else None


@dataclass
class Plan:
    """Which file to import into which model. skipped: files of folders, and why. refused: messages about unreadable
    files.
    """

    files: dict[Path, type[MirroredModel]] = field(default_factory=dict)
    formats: dict[Path, Format] = field(default_factory=dict)
    skipped: dict[Path, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def add(self, path: Path, model: type[MirroredModel]) -> None:
        try:
            self.formats[path] = recognise(path)
        except NothingToImport as error:
            self.refused.append(str(error))
        else:
            self.files[path] = model


def plan(paths: Iterable[Path], model: type[MirroredModel] | None) -> Plan:
    """Returns which files to import. `model` is for files whose name does not tell. Raises NothingToImport."""
    found = Plan()
    for path in paths:
        if path.is_dir():
            if model:
                raise NothingToImport(f"--model is for files, and {path} is a folder")
            _add_folder(found, path)
        elif path.exists():
            if METADATA.search(path.name):
                raise NothingToImport(f"{path} describes a collection of mongodump. Import the .bson file beside it.")
            kind = model or model_of(path)
            if kind is None:
                raise NothingToImport(f"{path.name} does not match a model's name. Choose the model with --model")
            found.add(path, kind)
        else:
            raise NothingToImport(f"{path} does not exist")
    if found.refused and not found.files:
        raise NothingToImport("\n".join(found.refused))
    return found


def _add_folder(found: Plan, folder: Path) -> None:
    """The files of a folder, or, if it has none, those of its only folder that has some, as mongodump creates it."""
    if not _files(folder):
        inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and _files(path)]
        if len(inner) > 1:
            names = ", ".join(path.name for path in inner)
            raise NothingToImport(f"{folder} has several folders of data ({names}): name one of them")
        if not inner:
            collections = ", ".join(model.mirror.collection for model in MODELS.values())
            raise NothingToImport(f"{folder} has no file for any of: {collections}")
        folder = inner[0]
    for path in sorted(path for path in folder.iterdir() if not path.is_dir() and not METADATA.search(path.name)):
        kind = model_of(path)
        if kind and DATA_FILE.search(path.name):
            found.add(path, kind)
        elif kind:
            found.skipped[path] = "skipped, its name is not that of a JSON or BSON file"
        elif DATA_FILE.search(path.name):
            found.skipped[path] = "skipped, its name matches no model"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and DATA_FILE.search(path.name) and model_of(path)]


class Rejects:
    """The rejects file: one JSON object per line with file, line, reason and text. Created with the first reject."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.file: TextIO | None = None

    def add(self, source: Path, piece: Piece, reason: str) -> None:
        """Raises OSError if the file cannot be written."""
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # It holds personal data, so only its owner may read it.
            opener = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self.file = os.fdopen(opener, "w", encoding="utf-8")
        self.count += 1
        self.file.write(json.dumps({"file": str(source), "line": piece.line, "reason": reason, "text": piece.text}))
        self.file.write("\n")

    def close(self) -> None:
        if self.file:
            self.file.close()


@dataclass
class FileImport:
    """Loads one file.

    batch: the most rows written in one transaction.
    progress: called with the bytes read so far.
    rejected: called with each reject's piece and reason.

    The ids seen are kept to find duplicates: about 100 bytes of memory for each record, the only thing that grows with
    the file.
    """

    path: Path
    model: type[MirroredModel]
    batch: int
    rejects: Rejects
    format: Format | None = None
    progress: Callable[[int], None] = lambda position: None
    rejected: Callable[[Piece, str], None] = lambda piece, reason: None
    counts: Counter[str] = field(default_factory=Counter)
    waiting: list[tuple[Piece, MirroredModel]] = field(default_factory=list)

    def run(self) -> Counter[str]:
        """Loads the file and returns the number of rows by outcome. Raises OSError, and OperationalError without a
        database.
        """
        seen: set[bytes] = set()
        reader = Reader(self.path, self.format)
        characters = 0
        for piece in reader:
            try:
                row = self._row(piece, seen)
            except Rejected as error:
                self._reject(piece, str(error))
                continue
            self.waiting.append((piece, row))
            characters += len(piece.text)
            if len(self.waiting) >= self.batch or characters >= BATCH_CHARACTERS:
                self._write()
                characters = 0
                self.progress(reader.position)
        self._write()
        return self.counts

    def _row(self, piece: Piece, seen: set[bytes]) -> MirroredModel:
        if piece.problem:
            raise Rejected(piece.problem)
        row = decode(self.model, piece.text)
        key = bytes.fromhex(row.pk)
        if key in seen:
            raise Rejected(f"_id: {row.pk} occurs twice in this file; the first one counts")
        seen.add(key)
        return row

    def _write(self) -> None:
        if not self.waiting:
            return
        outcomes = upsert([row for _, row in self.waiting])
        for (piece, _), outcome in zip(self.waiting, outcomes, strict=True):
            if outcome.kind == REJECTED:
                self._reject(piece, outcome.reason)
            else:
                self.counts[outcome.kind] += 1
        self.waiting.clear()

    def _reject(self, piece: Piece, reason: str) -> None:
        self.counts[REJECTED] += 1
        self.rejects.add(self.path, piece, reason)
        self.rejected(piece, reason)
