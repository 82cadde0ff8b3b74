"""Jobs run in a relay process, one at a time for each target; they report progress, stop, and survive a crash."""

import threading
from typing import Any

import pytest
from bson import ObjectId
from django.db import transaction
from pymongo.database import Database

from finance.models import Account
from sync.jobs import runner
from sync.jobs.models import Job
from sync.mapping.registry import Target
from sync.mongodb.client import forget_clients
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.hurry import LONG_AGO
from sync.tests.zoo.models import Keeper
from sync.verification.models import Verification
from sync.workers.shutdown import StopEvent
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ACCOUNTS = Target(Account)


@pytest.fixture(autouse=True)
def rows(mongo: Database) -> None:
    Account.objects.bulk_create([make(number) for number in range(10)])
    Change.objects.update(due_at=LONG_AGO)
    Relay().drain()
    assert differences(Account, mongo) == []


def do(kind: str, **options: Any) -> Job:
    job = runner.ask(ACCOUNTS, kind, "theo", **options)
    assert job
    assert runner.work()
    job.refresh_from_db()
    return job


def test_a_job_rings_at_its_commit_and_all_due_jobs_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    monkeypatch.setattr(runner, "ring", lambda bell, using: rung.append(bell))
    with transaction.atomic():
        assert runner.ask(ACCOUNTS, "verify", "theo")
        assert runner.ask(Target(Keeper), "verify", "theo")
        assert rung == []
    assert rung == [runner.BELL] * 2
    assert runner.ask(ACCOUNTS, "verify", "theo") is None, "it has one"
    stop = StopEvent()
    stop.set()
    runner.work_all(stop)
    assert Job.objects.filter(finished_at=None).count() == 2
    runner.work_all(StopEvent())
    assert not Job.objects.filter(finished_at=None).exists()


def test_verify_compares_and_reports(mongo: Database) -> None:
    job = do("verify")
    assert job.finished_at
    assert job.steps, "about 20, because MongoDB's estimate is inaccurate after a crash"
    assert (job.found, job.note, job.unfinished) == (0, "", None)
    mongo.accounts.delete_one({})
    mongo.accounts.insert_one({"_id": ObjectId()})
    job = do("verify")
    assert job.found == 2
    assert Verification.objects.latest("pk").found == 2
    assert not runner.work(), "no job is left"


def test_repair_fixes_and_deletes_only_when_asked(mongo: Database) -> None:
    mongo.accounts.delete_one({})
    mongo.accounts.insert_one({"_id": ObjectId()})
    do("verify")
    job = do("repair")
    assert (job.repaired, job.found) == (1, 1)
    assert mongo.accounts.count_documents({}) == 11
    job = do("repair", prune=True)
    assert (job.repaired, job.found) == (1, 0)
    assert differences(Account, mongo) == []


def test_repair_changes_only_what_was_known_when_it_was_confirmed(mongo: Database) -> None:
    known, other = Account.objects.order_by("pk")[:2]
    orphans = ObjectId(), "no ObjectId"
    mongo.accounts.delete_one({"_id": ObjectId(known.pk)})
    mongo.accounts.insert_one({"_id": orphans[0]})
    do("verify")
    job = runner.ask(ACCOUNTS, "repair", "theo", prune=True)
    assert job
    mongo.accounts.delete_one({"_id": ObjectId(other.pk)})
    mongo.accounts.insert_one({"_id": orphans[1]})
    assert runner.work()
    job.refresh_from_db()
    assert (job.repaired, job.found) == (2, 2)
    assert mongo.accounts.find_one({"_id": ObjectId(known.pk)})
    assert [document["_id"] for document in mongo.accounts.find({"_id": {"$in": orphans}})] == [orphans[1]]
    assert not mongo.accounts.find_one({"_id": ObjectId(other.pk)})
    job = do("repair", prune=True)
    assert (job.repaired, job.found) == (2, 0)
    assert differences(Account, mongo) == []


def test_backfill_is_planned_and_relays_deliver_it(mongo: Database) -> None:
    mongo.accounts.delete_many({})
    job = do("backfill")
    assert job.finished_at
    assert job.steps == 1
    assert Change.objects.exclude(until="").count() == 1
    Relay().drain()
    assert differences(Account, mongo) == []


def test_each_target_has_one_job_at_a_time(mongo: Database) -> None:
    assert runner.ask(ACCOUNTS, "verify", "theo")
    assert runner.ask(ACCOUNTS, "repair", "tina") is None
    assert runner.ask(Target(Keeper), "verify", "theo")
    runner.work()
    assert runner.ask(ACCOUNTS, "repair", "tina")


def test_a_job_waits_while_mongodb_is_unreachable_and_then_continues(mongo: Database, mongod: Mongo) -> None:
    runner.ask(ACCOUNTS, "verify", "theo")
    mongod.kill()
    assert runner.work()
    job = Job.objects.get()
    assert job.finished_at is None
    assert "MongoDB does not respond" in job.note
    mongod.start()
    forget_clients()
    assert not runner.work(), "the job waits for DELAY seconds"
    Job.objects.update(due_at=LONG_AGO)
    assert runner.work()
    job.refresh_from_db()
    assert job.finished_at
    assert job.note == ""


def test_a_running_job_can_be_stopped(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    job = runner.ask(ACCOUNTS, "verify", "theo")
    assert job

    def verify(target: Any, using: str, progress: Any, **options: Any) -> None:
        assert runner.stop(job.pk, "stopped by tina")
        progress.tell()
        raise AssertionError("the job continues after it was stopped")

    monkeypatch.setattr(runner, "verify", verify)
    assert runner.work()
    job.refresh_from_db()
    assert (job.note, job.unfinished) == ("stopped by tina", None)
    assert job.finished_at
    assert not runner.stop(job.pk, "again")


def test_another_process_continues_the_job_of_a_process_that_stops(
    mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.ask(ACCOUNTS, "verify", "theo")
    resumed = []
    true = runner.verify

    def verify(*args: Any, resume: bool, **options: Any) -> Any:
        resumed.append(resume)
        return true(*args, resume=resume, **options)

    monkeypatch.setattr(runner, "verify", verify)
    stop = threading.Event()
    stop.set()  # the process is asked to stop right away
    assert runner.work(stop)
    assert Job.objects.get().finished_at is None
    assert runner.work(), "at once: the first process released its lease"
    assert Job.objects.get().finished_at
    assert resumed == [True]


def test_an_expired_lease_is_taken_over_and_its_holder_interrupted(mongo: Database) -> None:
    job = runner.ask(ACCOUNTS, "verify", "theo")
    assert job
    frozen = runner._claim("default")
    assert frozen
    assert not runner.work(), "it is in flight"
    Job.objects.update(due_at=LONG_AGO)
    assert runner.work()
    with pytest.raises(runner.Interrupted):
        runner._Hold(frozen, threading.Event(), "default").tell()


def test_an_error_finishes_the_job_with_the_reason(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(runner, "verify", broken)
    assert do("verify").note == "RuntimeError: no such luck"
    Job.objects.create(model="finance.forgotten", unfinished="finance.forgotten", kind="verify")
    assert runner.work()
    assert Job.objects.latest("pk").note == "This target no longer exists."
