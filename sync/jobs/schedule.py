"""The schedule: adds a verification of each target when its last one began SYNC_VERIFY_EVERY ago."""

from __future__ import annotations

from datetime import timedelta

from django.db import DEFAULT_DB_ALIAS

from sync.core import conf
from sync.core.clock import DatabaseNow
from sync.jobs.models import Job
from sync.jobs.runner import ask
from sync.mapping.registry import all_targets
from sync.verification.models import Verification

LOOK = 60.0  # seconds between two looks whether a verification is due
BY = "sync run"  # who has asked for it


def add_due(using: str = DEFAULT_DB_ALIAS) -> None:
    """Adds a job for each target that is due. A job that fails is not repeated before the next time."""
    since = DatabaseNow() - timedelta(seconds=conf.VERIFY_EVERY)
    runs = Verification.objects.using(using).filter(started_at__gt=since, mode__in=["full", "strict"])
    recent = {
        *runs.filter(finished_at__isnull=False).values_list("model", flat=True),
        *Job.objects.using(using).filter(kind=Job.Kind.VERIFY, asked_at__gt=since).values_list("model", flat=True),
    }
    for target in all_targets():
        if target.kind.readable and target.label not in recent:
            ask(target, Job.Kind.VERIFY, BY, using=using)
