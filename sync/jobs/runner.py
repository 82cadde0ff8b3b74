"""Jobs: verify, repair and backfill, started from a page and run by a relay process because they take too long there.

A request adds a row, and any relay process runs it, one job at a time for each target. The process holds a lease on the
row, which each progress update renews. Stopping a job finishes its row, and the process notices at its next progress
update. If the process dies, another one continues from the last position that verify saved.
"""

from __future__ import annotations

import functools
import logging
import time
from datetime import timedelta

from django.db import DEFAULT_DB_ALIAS, IntegrityError, OperationalError, transaction
from django.db.models import Max, QuerySet

from sync.core import mysql
from sync.core.clock import DatabaseNow
from sync.core.compiled import Statement
from sync.jobs.models import Job
from sync.mapping.fields import new_object_id
from sync.mapping.registry import Target, find_target
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill
from sync.outbox.models import Change
from sync.verification.mismatches import known_at
from sync.verification.repair import Repairer
from sync.verification.scan import KeyMismatch, Scan
from sync.verification.verify import steps, verify
from sync.workers.bell import ring
from sync.workers.shutdown import StopEvent

logger = logging.getLogger(__name__)

LOOK = 5.0  # seconds between two queries for due jobs; a job that is added on this machine rings
BELL = "jobs"
TELL = 1.0  # seconds between two progress updates
LEASE = 120.0  # seconds without an update until another process takes over; longer than the repair of one batch
DELAY = 10.0  # seconds until the next attempt while a server is unreachable
KEPT = 30  # days until a finished job is deleted


class Interrupted(Exception):
    """The job was stopped, another process has taken it over, or this process is shutting down."""


def ask(target: Target, kind: str, by: str, *, prune: bool = False, using: str = DEFAULT_DB_ALIAS) -> Job | None:
    """Add a job for a relay to run. Return None if this target has an unfinished job. Deletes old finished jobs."""
    Job.objects.using(using).filter(finished_at__lt=DatabaseNow() - timedelta(days=KEPT)).delete()
    try:
        with transaction.atomic(using):
            transaction.on_commit(lambda: ring(BELL, using), using)
            return Job.objects.using(using).create(
                model=target.label, unfinished=target.label, kind=kind, prune=prune, asked_by=by
            )
    except IntegrityError:
        return None


def stop(job: int, why: str, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Stop a job, even while it runs. Return False if it was finished already."""
    return _end(Job.objects.using(using).filter(pk=job, finished_at=None), note=why)


def latest(using: str = DEFAULT_DB_ALIAS) -> dict[str, Job]:
    """Return the newest job of each model."""
    jobs = Job.objects.using(using)
    newest = jobs.values("model").annotate(newest=Max("pk")).values("newest")
    return {job.model: job for job in jobs.filter(pk__in=newest)}


def work_all(stop: StopEvent) -> None:
    """Run the due jobs, one after the other."""
    while not stop.is_set() and work(stop):
        pass


def work(stop: StopEvent | None = None, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Run one due job. Return whether there was one."""
    job = _claim(using)
    if job is None:
        return False
    hold = _Hold(job, stop or StopEvent(), using)
    try:
        _do(job, hold, using)
    except Interrupted:
        hold.mine.update(claim="", due_at=DatabaseNow())  # another process can continue the job at once
    except (Unavailable, OperationalError) as error:
        due = DatabaseNow() + timedelta(seconds=DELAY)
        hold.mine.update(claim="", due_at=due, note=mysql.reason(error)[:255])
    except LookupError:
        _end(hold.mine, note="This target no longer exists.")
    except Exception as error:
        logger.exception("%s failed", job)
        _end(hold.mine, note=f"{type(error).__name__}: {error}"[:255])
    return True


class _Hold:
    """Renews a job's lease and saves its progress. Verify calls it as its `progress`."""

    def __init__(self, job: Job, stop: StopEvent, using: str) -> None:
        self.mine = Job.objects.using(using).filter(pk=job.pk, claim=job.claim, finished_at=None)
        self.stop = stop
        self.done = 0
        self.tell_at = 0.0

    def __call__(self, steps: int) -> None:
        self.done += steps
        if time.monotonic() >= self.tell_at:
            self.tell()

    def tell(self, **figures: int | str) -> None:
        """Save the progress. Raises Interrupted if this process lost the lease or is shutting down."""
        self.tell_at = time.monotonic() + TELL
        due = DatabaseNow() + timedelta(seconds=LEASE)
        if not self.mine.update(done=self.done, due_at=due, **figures) or self.stop.is_set():
            raise Interrupted


@functools.cache
def _any_due(using: str) -> Statement:
    return Statement.exists(_due(using))


def _due(using: str) -> QuerySet[Job]:
    return Job.objects.using(using).filter(finished_at=None, due_at__lte=DatabaseNow())


def _claim(using: str) -> Job | None:
    if not _any_due(using).fetch():
        return None
    due = _due(using)
    for job in due.order_by("pk")[:10]:
        job.claim = new_object_id()
        lease = DatabaseNow() + timedelta(seconds=LEASE)
        if due.filter(pk=job.pk).update(claim=job.claim, due_at=lease):
            return job
    return None


def _end(jobs: QuerySet[Job], **figures: int | str) -> bool:
    return bool(jobs.update(finished_at=DatabaseNow(), unfinished=None, claim="", **figures))


def _do(job: Job, hold: _Hold, using: str) -> None:
    target = find_target(job.model)
    if job.kind == Job.Kind.BACKFILL:
        backfill.plan(target, using)
        ranges = Change.objects.using(using).filter(model=target.label).exclude(until="").count()
        _end(hold.mine, steps=ranges, done=ranges, note="")
        return
    begun = job.steps is not None
    hold.tell(steps=steps(target, using), note="")
    repairer = _ConfirmedRepairer(job, target, using) if job.kind == Job.Kind.REPAIR else None
    run = verify(target, using, hold, resume=begun, repair=repairer)
    _end(hold.mine, done=hold.done, found=run.found, repaired=repairer.repaired if repairer else 0, note="")


class _ConfirmedRepairer(Repairer):
    """Repairs only what was known when the operator confirmed the numbers. Newer mismatches are found and left."""

    def __init__(self, job: Job, target: Target, using: str) -> None:
        super().__init__(Scan(target, using), prune=job.prune)
        self.confirmed_at = job.asked_at

    def __call__(self, found: list[KeyMismatch]) -> set[str]:
        known = known_at(self.scan, self.confirmed_at, [mismatch.key for mismatch in found])
        return super().__call__([mismatch for mismatch in found if mismatch.key in known])
