"""Verify: compares every row with its document during live writes, in bounded memory, and repairs on request.

Both sides are read in order of the key, a range at a time: the rows, and the documents with any `_id` from where the
range starts to where the next one does. If the two databases may order keys differently (text, for example), rows are
read with the documents of their keys, and then all documents' ids with their rows.

A key that differs is a suspect and not yet a mismatch, because its change may be in flight. It is rechecked a moment
later, in this order: row, pending changes, document. It is a mismatch if nothing was pending, row and document differ,
and the document is the very same as before.

Why this is sufficient: every delivery gives its document a new version, so no delivery wrote it between the two reads;
and a change is removed only when its document is written. So whatever was committed before the pending changes were
read was either among them, or written before the first read. As nothing was pending, the document represented the row
as it was at that moment, which is the row that was read; and they differed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from pymongo.errors import PyMongoError

from sync.mapping.registry import Target
from sync.mongodb.errors import Unavailable, reason
from sync.verification import mismatches
from sync.verification.models import Verification
from sync.verification.scan import CHUNK, KeyMismatch, Scan, fingerprint, from_text, id_of, to_text

RECHECKS = 3  # how often a changing suspect is rechecked before it counts as pending
PAUSE = 0.2  # seconds before each recheck
SAVE_EVERY = 5.0  # seconds of work that an interruption may cost
UNSEEN = b"?"  # the fingerprint of a document that was not read yet

Progress = Callable[[int], None]
Repair = Callable[[list[KeyMismatch]], Collection[str]]  # repairs mismatches, and returns the keys that are in sync now


def verify(
    target: Target,
    using: str = DEFAULT_DB_ALIAS,
    progress: Progress = lambda steps: None,
    *,
    sample: float | None = None,
    resume: bool = False,
    strict: bool = False,
    repair: Repair | None = None,
    kind: Callable[[Scan, Verification, Progress, Repair | None], Run] | None = None,
) -> Verification:
    """Compares rows and documents of `target`. Returns the stored run with the mismatches it has found.

    progress: called with how many more of `steps()` are done.
    sample: only this many random rows and documents: a number from 1, or a share of all below 1.
    resume: continues the last full run if it was interrupted.
    strict: also compares each document with the columns' own texts: see sync/verification/strict.py.
    repair: is called with confirmed mismatches, at most CHUNK at a time. kind: the class of the run, by default Run.
    Raises Unavailable; a full run can be resumed then, and after any other interruption.
    """
    scan = Scan(target, using, strict=strict)
    kept = mismatches.begin(scan, "sampled" if sample is not None else "strict" if strict else "full", resume)
    try:
        run = (kind or Run)(scan, kept, progress, repair)
        if sample is None:
            run.full()
        else:
            run.sampled(sample)
        return mismatches.end(kept)
    except PyMongoError as error:
        mismatches.interrupt(kept, reason(error))
        raise Unavailable(reason(error)) from error
    except BaseException as error:
        mismatches.interrupt(kept, str(error) or type(error).__name__)
        raise


def steps(target: Target, using: str = DEFAULT_DB_ALIAS, sample: float | None = None) -> int:
    """About how many rows and documents a run will read. Raises Unavailable."""
    scan = Scan(target, using)
    try:
        return sum(_counts(scan, sample))
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error


def _counts(scan: Scan, sample: float | None) -> list[int]:
    counts = [scan.all_rows.count(), scan.collection.estimated_document_count()]
    if sample is None:
        return counts
    return [min(count, math.ceil(count * sample) if sample < 1 else int(sample)) for count in counts]


class Run:
    """One run over one target. `kept` is its stored row."""

    def __init__(self, scan: Scan, kept: Verification, progress: Progress, repair: Repair | None) -> None:
        self.scan = scan
        self.kept = kept
        self.progress = progress
        self.repair = repair
        self.suspects: dict[str, bytes] = {}  # by key, the fingerprint of the document when it was last read
        self.orphan: dict[str, Any] = {}  # by their text, the ids that cannot be keys
        self.save_at = time.monotonic() + SAVE_EVERY

    def full(self) -> None:
        """All rows and all documents."""
        stage, _, at = self.kept.position.partition(" ")
        self.progress(self.kept.compared)
        if self.scan.ordered:
            self._both_sides(at)
        else:
            if stage != "documents":
                self._rows(at)
                at = ""
            self._documents(from_text(at) if at else None)
        self._settle()

    def _both_sides(self, start: str, end: str = "") -> None:
        for rows, documents, last in self.scan.slices(start, end):
            self.kept.compared += (count := len(rows))
            for document in documents:
                key = self.scan.key_of(document)
                row = None if key is None else rows.pop(key, None)
                if key is None:
                    _id = id_of(document)
                    self.orphan[to_text(_id)] = _id
                elif row is None or self.scan.mismatch(key, row, document):
                    self.suspects[key] = fingerprint(document)
                self._settle_many()
            self.suspects |= {key: fingerprint(None) for key in rows}
            if last:
                self._advance(2 * count, f"both {last}")

    def _rows(self, after: str, until: str = "") -> None:
        """The rows in order of their key, each with its document."""
        for rows in self.scan.row_chunks(after, until):
            documents = self.scan.documents(rows)
            for key, row in rows.items():
                if self.scan.mismatch(key, row, documents.get(key)):
                    self.suspects[key] = fingerprint(documents.get(key))
            self.kept.compared += len(rows)
            self._advance(len(rows), f"rows {key}")

    def _documents(self, start: Any) -> None:
        """All documents without a row."""
        for ids in self.scan.id_chunks(start):
            self._ids(ids)

    def _ids(self, ids: list[Any]) -> None:
        """Those of these documents that have no row."""
        keys = self._separate_orphans(ids)
        present = self.scan.present(keys)
        self.suspects |= {key: UNSEEN for key in keys if key not in present}
        if ids:
            self._advance(len(ids), f"documents {to_text(ids[-1])}")

    def sampled(self, sample: float) -> None:
        """Random rows with their documents, and random documents with their rows."""
        # MongoDB's estimate may be too low after a crash; a sample as large as all must cover all.
        rows, documents = _counts(self.scan, sample) if sample < 1 else (int(sample), int(sample))
        keys = self.scan.sample_keys(rows) if rows else []
        ids = self.scan.sample_ids(documents) if documents else []
        keys += self._separate_orphans(ids)
        for start in range(0, len(keys), CHUNK):
            some = keys[start : start + CHUNK]
            for key, row, _, document in self.scan.look(dict.fromkeys(some)):
                if self.scan.mismatch(key, row, document):
                    self.suspects[key] = fingerprint(document)
                self.kept.compared += 1
            self._settle()
            mismatches.forget_unseen(self.kept, some)
            self.progress(len(some))
        self._settle()

    def _separate_orphans(self, ids: Iterable[Any]) -> list[str]:
        """The keys for these ids; ids that cannot be keys are stored separately."""
        keys = []
        for _id in ids:
            key = self.scan.key(_id)
            if key is None:
                self.orphan[to_text(_id)] = _id
            else:
                keys.append(key)
        return keys

    def _advance(self, steps: int, position: str) -> None:
        """Everything up to `position` is compared; at intervals this is saved, with no suspects left."""
        self.progress(steps)
        self._settle_many()
        if time.monotonic() > self.save_at:
            self._settle()
            self.kept.position = position
            self.kept.save()
            self.save_at = time.monotonic() + SAVE_EVERY

    def _settle_many(self) -> None:
        """Keeps the number of suspects bounded."""
        if len(self.suspects) + len(self.orphan) >= CHUNK:
            self._settle()

    def _settle(self) -> None:
        """Rechecks the suspects until each is in sync, a mismatch, or counted as pending."""
        for _ in range(RECHECKS):
            if not self.suspects:
                break
            time.sleep(PAUSE)
            self._recheck()
        self.kept.pending += len(self.suspects)
        self.suspects = {}
        self._found(self._compare_orphans())

    def _recheck(self) -> None:
        before, self.suspects = self.suspects, {}
        certain = []
        for key, row, pending, document in self.scan.look(before):
            if difference := self.scan.mismatch(key, row, document):
                now = fingerprint(document)
                # No later delivery can make a document of a row that cannot become one.
                if difference.kind != "unmappable" and (pending or before[key] != now):
                    self.suspects[key] = now
                else:
                    certain.append(difference)
        self._found(certain)

    def _compare_orphans(self) -> list[KeyMismatch]:
        """Those documents that still exist. No row and no change can belong to them."""
        ids, self.orphan = list(self.orphan.values()), {}
        found = []
        while ids:
            some, ids = ids[: self.scan.size], ids[self.scan.size :]
            documents = self.scan.documents_by_id(some)
            found += [KeyMismatch(text, "extra", orphan=document) for text, document in documents.items()]
        return found

    def _found(self, certain: list[KeyMismatch]) -> None:
        if not certain:
            return
        mismatches.keep(self.kept, certain)
        repaired = self.repair(certain) if self.repair else ()
        mismatches.forget(self.kept, repaired)
        self.kept.found += len(certain) - len(repaired)
