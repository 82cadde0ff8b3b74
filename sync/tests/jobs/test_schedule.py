"""The schedule of `sync run`: each target is verified again when its last run began SYNC_VERIFY_EVERY ago."""

from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database

from sync.core.clock import DatabaseNow
from sync.jobs import runner, schedule
from sync.jobs.models import Job
from sync.mapping.registry import all_targets
from sync.verification.models import Verification

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

READABLE = sorted(target.label for target in all_targets() if target.kind.readable)


def waiting() -> list[str]:
    return sorted(Job.objects.filter(finished_at=None).values_list("model", flat=True))


def test_each_target_is_verified_once_in_an_interval(mongo: Database, settings: Any) -> None:
    settings.SYNC_VERIFY_EVERY = 3600.0
    schedule.add_due()
    schedule.add_due()
    assert waiting() == READABLE
    assert set(Job.objects.values_list("kind", "asked_by")) == {("verify", "sync run")}
    while runner.work():
        pass
    assert waiting() == []
    assert Verification.objects.filter(finished_at=None).count() == 0
    schedule.add_due()
    assert waiting() == []
    Verification.objects.filter(model="finance.account").update(started_at=DatabaseNow() - timedelta(seconds=3601))
    Job.objects.filter(model="finance.account").update(asked_at=DatabaseNow() - timedelta(seconds=3601))
    schedule.add_due()
    assert waiting() == ["finance.account"]


def test_a_run_by_hand_counts_unless_it_was_a_sample_or_interrupted(mongo: Database, settings: Any) -> None:
    settings.SYNC_VERIFY_EVERY = 3600.0
    by_hand = {"finance.account": "full", "finance.customer": "strict", "finance.transaction": "sampled"}
    for label, mode in by_hand.items():
        Verification.objects.create(model=label, mode=mode, finished_at=DatabaseNow())
    Verification.objects.create(model=READABLE[-1], mode="full", error="killed")
    schedule.add_due()
    assert waiting() == [label for label in READABLE if label not in ("finance.account", "finance.customer")]


def test_a_failed_job_is_not_repeated_at_once(mongo: Database, settings: Any) -> None:
    settings.SYNC_VERIFY_EVERY = 3600.0
    schedule.add_due()
    for job in Job.objects.all():
        runner.stop(job.pk, "a failure")
    schedule.add_due()
    assert waiting() == []
