"""Verification by several processes: each compares a range of keys at a time. The first adds up in order of the keys.

So the position up to which everything is compared, the mismatches and the repairs are reported as by one process.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, OperationalError
from pymongo.errors import PyMongoError

from sync.mapping.registry import find_target
from sync.mongodb.errors import Unavailable, reason
from sync.verification.models import Verification
from sync.verification.repair import Repairer
from sync.verification.scan import Scan, to_text
from sync.verification.verify import Progress, Repair, Run
from sync.workers.processes import starting


class Compared(NamedTuple):
    """What a process has found in its part. steps: as of verify's `progress`. lines: what the repairer said."""

    steps: int
    compared: int
    pending: int
    found: int
    repaired: int
    lines: list[str]


class SharedRun(Run):
    """A full run, whose parts are compared in a pool of so many processes. repair: a Repairer, if any."""

    def __init__(
        self,
        scan: Scan,
        kept: Verification,
        progress: Progress,
        repair: Repair | None,
        *,
        pool: ProcessPoolExecutor,
        processes: int,
    ) -> None:
        super().__init__(scan, kept, progress, repair)
        self.pool = pool
        self.processes = processes

    def _both_sides(self, start: str, end: str = "") -> None:
        self._share(Run._both_sides, ((each, f"both {each[1]}" if each[1] else "") for each in self.scan.ranges(start)))

    def _rows(self, after: str, until: str = "") -> None:
        self._share(Run._rows, ((each, f"rows {each[1]}" if each[1] else "") for each in self.scan.ranges(after)))

    def _documents(self, start: Any) -> None:
        chunks = filter(None, self.scan.id_chunks(start))
        self._share(Run._ids, (((ids,), f"documents {to_text(ids[-1])}") for ids in chunks))

    def _share(self, method: Callable[..., None], parts: Iterable[tuple[tuple[Any, ...], str]]) -> None:
        """Has each part compared. parts: the arguments of the method, and the position after it; "" after the last."""
        repair = (self.repair.prune, self.repair.dry_run) if isinstance(self.repair, Repairer) else None
        act = functools.partial(compare, self.scan.label, self.scan.proof is not None, self.kept.pk, repair, method)
        waiting: deque[tuple[Future[Compared], str]] = deque()
        for args, position in parts:
            with starting():
                waiting.append((self.pool.submit(act, *args), position))
            if len(waiting) > 2 * self.processes:
                self._add(*waiting.popleft())
        while waiting:
            self._add(*waiting.popleft())

    def _add(self, future: Future[Compared], position: str) -> None:
        try:
            part = future.result()
        except BrokenProcessPool as error:
            raise OperationalError("One of the processes ended by itself") from error
        self.kept.compared += part.compared
        self.kept.pending += part.pending
        self.kept.found += part.found
        if isinstance(self.repair, Repairer):
            self.repair.repaired += part.repaired
            for line in part.lines:
                self.repair.say(line)
        if position:
            self._advance(part.steps, position)
        else:
            self.progress(part.steps)


def compare(
    label: str, strict: bool, run: int, repair: tuple[bool, bool] | None, method: Callable[..., None], *args: Any
) -> Compared:
    """Compares one part in a further process. run: the stored run. repair: a repairer's prune and dry_run."""
    scan = _scan(label, strict)
    kept = Verification.objects.using(scan.using).get(pk=run)
    kept.compared = kept.pending = kept.found = 0
    steps: list[int] = []
    lines: list[str] = []
    repairer = Repairer(scan, prune=repair[0], dry_run=repair[1], say=lines.append) if repair else None
    part = Run(scan, kept, steps.append, repairer)
    part.save_at = math.inf  # the first process saves the run
    try:
        method(part, *args)
        part._settle()
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error
    repaired = repairer.repaired if repairer else 0
    return Compared(sum(steps), kept.compared, kept.pending, kept.found, repaired, lines)


@functools.cache
def _scan(label: str, strict: bool) -> Scan:
    return Scan(find_target(label), DEFAULT_DB_ALIAS, strict=strict)
