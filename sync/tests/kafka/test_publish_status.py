"""What status, metrics and checks say of Kafka."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from examples.news.models import Story
from sync.checks.mirrored import check_settings
from sync.kafka.consumer import ConsumerHeartbeat
from sync.monitoring.metrics import exposition
from sync.monitoring.status import status
from sync.tests.support.publishing import process, story, wait_until
from sync.workers.heartbeat import CONSUMER
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_published_mirror_needs_a_broker(settings: Any) -> None:
    assert "sync.E018" not in [error.id for error in check_settings(None)]
    settings.SYNC_KAFKA = {"security.protocol": "SSL"}
    [error] = [error for error in check_settings(None) if error.id == "sync.E018"]
    assert "news.story@kafka:story-events" in error.msg


def test_changes_that_nobody_publishes_are_pending_for_the_topic() -> None:
    story()
    [topic] = [model for model in status().models if model.model == "news.story@kafka:story-events"]
    assert (topic.pending, topic.rows, topic.documents) == (1, 1, None)
    assert Story.objects.count() == 1


def test_a_publisher_tells_of_itself(kafka: Kafka) -> None:
    publisher = process("publish", kafka=kafka.settings)
    try:
        wait_until(lambda: Worker.objects.filter(kind="publisher", queue="kafka").exists(), "it says that it lives")
        [worker] = [worker for worker in status().workers if worker.kind == "publisher"]
        assert worker.alive
    finally:
        publisher.kill()
        publisher.wait()


def test_a_consumer_tells_how_far_it_is_behind() -> None:
    heartbeat = ConsumerHeartbeat("default", "kafka:stories_1", CONSUMER)
    heartbeat.lag = 1234
    heartbeat.note = "1,234 messages behind"
    heartbeat.write()
    families = {family.name: family for family in text_string_to_metric_families(exposition().decode())}
    [sample] = families["sync_consumer_lag"].samples
    assert (sample.labels["group"], sample.value) == ("kafka:stories_1", 1234)
    assert status().relays == 0, "it is no relay: it does not take changes"
