"""Pages and commands list one row for each process; dead processes leave the list, and ended ones are not in it."""

from datetime import timedelta

import pytest
from django.test import Client
from pymongo.database import Database

from sync.core.clock import DatabaseNow
from sync.monitoring.metrics import exposition
from sync.monitoring.queries import LISTED
from sync.monitoring.status import status
from sync.tests.support.commands import sync
from sync.tests.support.people import VIEWER, user
from sync.tests.support.processes import finished, manage
from sync.workers.heartbeat import INLINE, INLINE_HEARTBEAT, RELAY, SILENCE, WorkerHeartbeat
from sync.workers.models import Worker

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.usefixtures("fresh_heartbeat"),
]  # fmt: skip


def beat(queue: str = "", delivered: int = 0, note: str = "") -> WorkerHeartbeat:
    heartbeat = WorkerHeartbeat("default", queue)
    heartbeat.count(delivered, [])
    heartbeat.note = note
    heartbeat.write()
    return heartbeat


def silence(heartbeat: WorkerHeartbeat, seconds: float) -> None:
    Worker.objects.filter(pk=heartbeat.id).update(heartbeat_at=DatabaseNow() - timedelta(seconds=seconds))


def test_a_relay_for_several_servers_is_one_process(mongo: Database, client: Client) -> None:
    beat(delivered=1200)
    beat(delivered=34, note="MongoDB does not respond")
    beat("eu", note="MongoDB does not respond")
    beat("eu", note="MongoDB does not respond")
    [process] = status().processes
    assert (process.kind, len(process.workers), process.delivered) == (RELAY, 4, 1234)
    assert process.note == "MongoDB does not respond; eu: MongoDB does not respond"
    assert status().relays == 1
    client.force_login(user("vera", *VIEWER))
    table = client.get("/sync/").content.decode().partition('id="workers"')[2]
    assert table.count("<tr>") == 2, "the heading and one process"
    assert "relay: 1 running" in sync("status")[1]
    assert 'sync_workers{kind="relay"} 1.0' in exposition().decode()


def test_two_processes_are_two_rows(mongo: Database) -> None:
    beat()
    Worker.objects.filter(pk=beat().id).update(pid=1)
    assert len(status().processes) == status().relays == 2


def test_a_process_is_dead_when_all_its_workers_are_silent(mongo: Database) -> None:
    workers = [beat(), beat()]
    silence(workers[0], SILENCE[RELAY] + 1)
    [process] = status().processes
    assert process.alive
    silence(workers[1], SILENCE[RELAY] + 1)
    [process] = status().processes
    assert (process.alive, process.rate) == (False, None)


def test_a_new_process_with_the_id_of_a_dead_one_replaces_it(mongo: Database) -> None:
    dead, alive = beat(delivered=9), beat(delivered=1)
    silence(dead, SILENCE[RELAY] + 1)
    [process] = status().processes
    assert [worker.id for worker in process.workers] == [alive.id]
    assert process.delivered == 1


def test_a_dead_process_leaves_the_list_after_some_minutes(mongo: Database) -> None:
    heartbeat = beat()
    silence(heartbeat, LISTED[RELAY] - 5)
    assert [process.alive for process in status().processes] == [False]
    silence(heartbeat, LISTED[RELAY] + 1)
    assert status().processes == []


def test_an_idle_web_process_is_never_shown_as_dead(mongo: Database) -> None:
    INLINE_HEARTBEAT.delivered_inline(1, 0.001, "default")
    for seconds, listed in ((0, [True]), (SILENCE[INLINE] - 5, [True]), (SILENCE[INLINE] + 1, [])):
        Worker.objects.update(heartbeat_at=DatabaseNow() - timedelta(seconds=seconds))
        assert [process.alive for process in status().processes] == listed


def test_a_command_that_has_ended_is_not_listed(mongo: Database) -> None:
    finished(manage("load_demo", "--customers", "1", "--trades", "1", "--force"))
    assert mongo.customers.count_documents({}) == 1
    assert not Worker.objects.exists()
    assert {model.model for model in status().models if model.last_delivery} >= {
        "finance.account", "finance.customer", "finance.transaction",
    }  # fmt: skip
