"""`sync run` publishes, and two processes do not end each other's publishers."""

import json

import pytest

from sync.outbox.models import Change
from sync.tests.support.processes import Process, manage
from sync.tests.support.publishing import TOPIC, story
from sync.tests.support.waiting import wait_for
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)


def run(kafka: Kafka) -> Process:
    return manage("sync", "run", EXAMPLES="news", SYNC_KAFKA=json.dumps(kafka.settings))


def publishers() -> list[int]:
    return list(Worker.objects.filter(kind="publisher").values_list("pid", flat=True))


def is_published() -> bool:
    return not Change.objects.filter(queue="kafka").exists()


@pytest.mark.slow
def test_one_of_two_processes_publishes_and_stands_by_for_a_publisher(kafka: Kafka) -> None:
    with run(kafka) as first, run(kafka) as second:
        wait_for(lambda: Worker.objects.filter(kind="relay").values("pid").distinct().count() == 2)
        wait_for(lambda: publishers() != [])
        story()
        wait_for(is_published)
        with manage("sync", "publish", EXAMPLES="news", SYNC_KAFKA=json.dumps(kafka.settings)) as third:
            third.until_it_says("The publisher is running")
            story()
            wait_for(is_published)
            # Those that were running are fenced and wait; none of them ends the third one's publisher.
            wait_for(lambda: publishers() == [third.pid])
            story()
            third.until(is_published)
            assert third.terminate(20) == 0
        wait_for(lambda: set(publishers()) & {first.pid, second.pid}, seconds=90)
        story()
        wait_for(is_published)
        assert "Another publisher" in first.output + second.output
    assert len(kafka.read(TOPIC)) == 4
