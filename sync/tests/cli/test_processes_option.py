"""--processes N: further processes share the work of a relay or a backfill, and end with the first one."""

import os
import signal
from contextlib import suppress

import pytest
from pymongo.database import Database

from finance.models import Account
from sync.outbox.models import Change
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.processes import Process, finished, manage
from sync.tests.support.waiting import wait_for
from sync.workers.models import Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ROWS = 400


@pytest.fixture(autouse=True)
def rows(mongo: Database, settings: object) -> None:
    settings.SYNC_INLINE = False  # type: ignore[attr-defined]
    Account.objects.bulk_create([make(number) for number in range(ROWS)])


def relays() -> set[int]:
    return set(Worker.objects.filter(kind="relay").values_list("pid", flat=True))


def is_gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def three() -> Process:
    return manage("sync", "relay", "--processes", "3", "--batch", "20")


def test_processes_share_the_keys_and_stop_together(mongo: Database) -> None:
    with three() as process:
        process.until(lambda: len(relays()) == 3)
        all_of_them = relays()
        assert process.pid in all_of_them
        process.until(lambda: not Change.objects.exists())
        Account.objects.update(limit=7)
        process.until(lambda: not Change.objects.exists())
        assert process.terminate(30) == 0
    assert differences(Account, mongo) == []
    assert relays() == set()
    wait_for(lambda: all(map(is_gone, all_of_them)))


def test_a_process_that_is_killed_is_started_again(mongo: Database) -> None:
    with three() as process:
        process.until(lambda: len(relays()) == 3)
        before = relays()
        killed = min(before - {process.pid})
        os.kill(killed, signal.SIGKILL)
        process.until_it_says("A process ended by itself, with status -9. It is started again.")
        process.until(lambda: relays() - before != set())
        Account.objects.update(limit=7)
        process.until(lambda: not Change.objects.exists())
        assert process.terminate(30) == 0
    assert differences(Account, mongo) == []


def test_none_outlives_a_killed_first_process(mongo: Database) -> None:
    with three() as process:
        process.until(lambda: len(relays()) == 3)
        others = relays() - {process.pid}
        process.kill()
        wait_for(lambda: all(map(is_gone, others)), seconds=60)


def test_once_refuses_processes(mongo: Database) -> None:
    process = finished(manage("sync", "relay", "--once", "--processes", "2"))
    assert process.status == 2
    assert "--once has one process." in process.stderr


def test_a_backfill_counts_the_rows_of_all_processes(mongo: Database) -> None:
    Account.objects.bulk_create([make(number) for number in range(ROWS, 5000)])
    Change.objects.all().delete()
    process = finished(manage("sync", "backfill", "account", "--processes", "3"))
    assert process.status == 0
    assert process.stdout.splitlines() == [
        "finance.account: 5,000 rows to deliver", "5,000 rows delivered, 0 left to the relay",
    ]  # fmt: skip
    assert differences(Account, mongo) == []
