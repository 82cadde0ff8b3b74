"""`sync run`: one process with everything that the settings call for; two of them stand by for each other."""

import pymongo
import pytest
from bson import ObjectId
from django.db.models import F
from pymongo.database import Database

from finance.models import Account
from sync.outbox.models import Change
from sync.tests.support import follow
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.follow import add_accounts, sql
from sync.tests.support.processes import Process, manage
from sync.tests.support.waiting import wait_for
from sync.verification.models import Verification
from sync.workers.models import Worker
from tests.servers import SERVERS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

FOLLOW = {"SYNC_FOLLOW_BINLOG": "1"}


def kinds() -> dict[str, set[int]]:
    """The processes of each kind of worker that is alive."""
    found: dict[str, set[int]] = {}
    for kind, pid in Worker.objects.exclude(kind="inline").values_list("kind", "pid"):
        found.setdefault(kind, set()).add(pid)
    return found


def run(**environment: str) -> Process:
    return manage("sync", "run", EXAMPLES="retail", **environment)


def test_one_process_delivers_pulls_verifies_and_stops(mongo: Database) -> None:
    make(1).save()
    with run(SYNC_VERIFY_EVERY="1") as process:
        process.until(lambda: not Change.objects.exclude(settling=True).exists())
        process.until(lambda: kinds() == {"relay": {process.pid}, "puller": {process.pid}})
        process.until(lambda: Verification.objects.filter(model="finance.account", finished_at__isnull=False).exists())
        with pymongo.MongoClient(SERVERS.mongo.uri("analytics_test")) as client:
            client.get_default_database()["sales"].insert_one({"_id": ObjectId(), "no": "sale"})
        process.until(lambda: sql("SELECT COUNT(*) FROM sync_deadletter")[0][0] == 1, "the sale was pulled")
        assert 'parts="relay,pull retail.sale,' in process.output
        assert ',verify every 1 s"' in process.output
        assert process.terminate(20) == 0
    assert differences(Account, mongo) == []
    assert kinds() == {}


def test_it_follows_the_log_if_the_settings_say_so(mongo: Database) -> None:
    follow.grant()
    try:
        with run(**FOLLOW) as process:
            process.until(lambda: kinds().get("follower") == {process.pid})
            process.until(lambda: follow.saved() and not follow.saved().unplanned)
            add_accounts(3)
            process.until(lambda: differences(Account, mongo) == [] and mongo.accounts.count_documents({}) == 3)
            assert process.terminate(20) == 0
    finally:
        follow.revoke()


def test_a_follower_without_privileges_does_not_stop_the_relay(mongo: Database, mariadb: object) -> None:
    with run(**FOLLOW) as process:
        process.until_it_says("follow-binlog: The user may not follow the binary log")
        make(1).save()
        Account.objects.update(limit=F("limit") + 1)
        process.until(lambda: not Change.objects.exists() and differences(Account, mongo) == [])
        assert "GRANT REPLICATION SLAVE" in process.output
        assert "Traceback" not in process.output
        follow.grant()
        try:
            process.until(lambda: kinds().get("follower") == {process.pid}, seconds=60)
        finally:
            follow.revoke()


@pytest.mark.slow
def test_a_second_process_takes_over_when_the_first_is_killed(mongo: Database) -> None:
    follow.grant()
    try:
        with run(**FOLLOW) as first, run(**FOLLOW) as second:
            wait_for(lambda: len(kinds().get("relay", ())) == 2)
            wait_for(lambda: len(kinds().get("follower", ())) == 1)
            [pid] = kinds()["follower"]
            one, other = (first, second) if first.pid == pid else (second, first)
            other.until_it_says(f"The binary log is held by process {pid} on")
            one.kill()
            wait_for(lambda: other.pid in kinds()["follower"], seconds=90)
            add_accounts(3)
            other.until(lambda: mongo.accounts.count_documents({}) == 3)
            assert differences(Account, mongo) == []
    finally:
        follow.revoke()
