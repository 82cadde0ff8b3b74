"""Consumers with an invalid position report lost messages, recover from the loss, and skip no message.

The tests read the recorded changes and the replica's collection directly.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pymongo.database import Database

from examples.news.models import Story
from sync.binlog.models import Sweep
from sync.outbox.models import Change
from sync.tests.support.processes import Process
from sync.tests.support.publishing import TOPIC, kafka_command, publish, replica, rows, story
from sync.tests.support.waiting import wait_for
from sync.workers.models import Worker
from tests.kafka import Kafka

pytestmark = pytest.mark.django_db(transaction=True)

GROUP = "analytics.debezium.dbserver1"
DEBEZIUM = ("consume", "story", "--format", "debezium", "--prefix", "dbserver1")
REPLICA = ("consume", "story", "--to", "stories_1")


def events_topic() -> str:
    return f"dbserver1.{connection.settings_dict['NAME']}.news_story"


def key(number: int) -> str:
    return f"{number:024x}"


def send(kafka: Kafka, *numbers: int, partition: int = 0) -> None:
    """Send events of rows that no table has; the tests check only that their keys are recorded."""
    events = [(json.dumps({"_id": key(number)}), json.dumps({"op": "c", "after": {}})) for number in numbers]
    kafka.send(events_topic(), *events, partition=partition)


@pytest.fixture
def events(kafka: Kafka, mongo: Database) -> None:
    """Provide an empty topic, and a row for backfills to plan, whose change counts as delivered."""
    story()
    Change.objects.all().delete()
    kafka.make(events_topic())


def take_recorded() -> set[int]:
    """Return the rows recorded as changed, and delete their changes."""
    found = {int(one, 16) for one in Change.objects.filter(until="", model="news.story").values_list("key", flat=True)}
    Change.objects.all().delete()
    return found


def take_full_delivery() -> bool:
    """Return whether a backfill and a search for orphans are planned, and delete both."""
    planned = (Change.objects.exclude(until="").exists(), Sweep.objects.filter(model="news.story").exists())
    Sweep.objects.all().delete()
    return planned == (True, True)


def consume(*arguments: str) -> int:
    """Consume everything. Return the exit status."""
    try:
        call_command("sync", *arguments, "--once")
    except SystemExit as ended:
        return ended.code
    except CommandError as error:
        print(error)  # as the command line does
        return error.returncode
    return 0


def have_read(kafka: Kafka, *numbers: int) -> None:
    """Send events of these rows and consume them."""
    send(kafka, *numbers)
    assert consume(*DEBEZIUM) == 0
    assert take_recorded() == set(numbers)


@contextmanager
def consumer(kafka: Kafka, *arguments: str) -> Iterator[Process]:
    """Start a consumer in its own process, wait until it works, and kill it when the block ends."""
    with kafka_command(kafka, *arguments) as started:
        started.until(lambda: Worker.objects.filter(kind="consumer", pid=started.pid).exists(), "it is at work")
        yield started


def test_messages_removed_while_the_groups_offsets_expired_are_reported(
    kafka: Kafka, events: None, capsys: pytest.CaptureFixture
) -> None:
    have_read(kafka, 1, 2)
    send(kafka, 3, 4, 5)
    kafka.forget(GROUP)
    kafka.remove_before(events_topic(), 4)
    capsys.readouterr()
    assert consume(*DEBEZIUM) == 1
    output = capsys.readouterr().out
    assert "offsets 2 to 3: messages were removed before they were read" in output
    assert "sync status" in output
    assert take_full_delivery()
    assert take_recorded() == {5}
    assert consume(*DEBEZIUM) == 0, "reported once"


def test_expired_offsets_lose_nothing_while_all_messages_are_kept(kafka: Kafka, mongo: Database) -> None:
    kafka.make(events_topic())
    have_read(kafka, 1, 2)
    kafka.forget(GROUP)
    have_read(kafka, 3)


def test_a_topic_whose_beginning_was_removed_before_the_first_start(
    kafka: Kafka, events: None, capsys: pytest.CaptureFixture
) -> None:
    send(kafka, 1, 2, 3)
    kafka.remove_before(events_topic(), 2)
    assert consume(*DEBEZIUM) == 1
    assert "its first 2 messages were removed" in capsys.readouterr().out
    assert take_full_delivery()
    assert take_recorded() == {3}


def test_removed_events_are_also_reported_when_reading_from_the_beginning(
    kafka: Kafka, events: None, capsys: pytest.CaptureFixture
) -> None:
    send(kafka, 1, 2)
    assert consume(*DEBEZIUM) == 0
    send(kafka, 3, 4, 5)
    kafka.remove_before(events_topic(), 1)
    take_recorded()
    assert consume(*DEBEZIUM, "--from-beginning") == 0, "the first was read"
    assert take_recorded() == {2, 3, 4, 5}
    send(kafka, 6, 7)
    kafka.remove_before(events_topic(), 6)
    capsys.readouterr()
    assert consume(*DEBEZIUM, "--from-beginning") == 1
    assert "offsets 5 to 5: messages were removed before they were read" in capsys.readouterr().out
    assert take_full_delivery()
    assert take_recorded() == {7}


def test_messages_that_were_read_may_be_removed(kafka: Kafka, mongo: Database) -> None:
    kafka.make(events_topic())
    have_read(kafka, 1, 2)
    kafka.remove_before(events_topic(), 2)
    assert consume(*DEBEZIUM) == 0
    kafka.make(TOPIC, 5)  # not compacted: Kafka removes no messages of those on demand
    story()
    publish()
    assert consume(*REPLICA) == 0
    for partition in range(kafka.partitions(TOPIC)):  # behind the last message is the end of its transaction
        kafka.remove_before(TOPIC, kafka.end(TOPIC, partition), partition)
    assert consume(*REPLICA) == 0
    assert replica(mongo, "stories_1") == rows()


@pytest.mark.parametrize("offset", [0, 5], ids=["back", "forward"])
def test_a_group_that_an_operator_has_reset_continues_at_its_own_position(
    kafka: Kafka, mongo: Database, offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.make(events_topic())
    have_read(kafka, 1, 2)
    send(kafka, 3, 4, 5)
    kafka.reset(GROUP, events_topic(), offset)
    assert consume(*DEBEZIUM) == 0
    assert f"was set to {offset} in Kafka. This has no effect" in caplog.text
    assert take_recorded() == {3, 4, 5}


def test_a_partition_that_is_added_is_read_from_its_beginning(kafka: Kafka, mongo: Database) -> None:
    kafka.make(events_topic())
    have_read(kafka, 1)
    kafka.grow(events_topic(), 2)
    send(kafka, 2)
    send(kafka, 3, 4, partition=1)
    assert consume(*DEBEZIUM) == 0
    assert take_recorded() == {2, 3, 4}


def test_a_topic_created_again_while_no_consumer_runs_is_read_from_its_start(
    kafka: Kafka, events: None, capsys: pytest.CaptureFixture
) -> None:
    have_read(kafka, 1, 2)
    kafka.drop(events_topic())
    kafka.make(events_topic())
    send(kafka, 11, 12, 13)
    capsys.readouterr()
    assert consume(*DEBEZIUM) == 1
    assert "was deleted and created again" in capsys.readouterr().out
    assert take_full_delivery()
    assert take_recorded() == {11, 12, 13}
    assert consume(*DEBEZIUM) == 0


def test_a_topic_that_is_created_again_while_a_consumer_runs_is_read_from_its_start(kafka: Kafka, events: None) -> None:
    send(kafka, 1, 2)
    with consumer(kafka, *DEBEZIUM) as live:
        live.until(lambda: Change.objects.filter(key=key(2)).exists(), "it reads")
        take_recorded()
        kafka.drop(events_topic())
        kafka.make(events_topic())
        send(kafka, 11, 12, 13, 14)
        live.until(lambda: Change.objects.filter(key=key(11)).exists(), "it reads the new topic from its start")
        live.until(lambda: Change.objects.filter(key=key(14)).exists(), "and to its end")
        assert take_full_delivery()
        assert live.terminate() == 0
        output = live.output
    assert output.count("was deleted and created again") == 1, output


def test_a_consumer_that_is_killed_and_whose_offsets_expire_misses_nothing(kafka: Kafka, mongo: Database) -> None:
    kafka.make(events_topic())
    every = set(range(1, 2001))
    send(kafka, *every)
    with consumer(kafka, *DEBEZIUM, "--batch", "5"):
        wait_for(lambda: Change.objects.filter(key=key(20)).exists(), "it reads")
    recorded = take_recorded()
    wait_for(lambda: not kafka.members(GROUP), "Kafka notices that it is dead")
    kafka.forget(GROUP)
    assert consume(*DEBEZIUM) == 0
    again = take_recorded()
    assert recorded | again == every
    assert not recorded & again, "changes and position are saved in one transaction"


def test_a_consumer_reports_a_deleted_topic_and_reads_its_successor(kafka: Kafka, events: None) -> None:
    send(kafka, 1)
    with consumer(kafka, *DEBEZIUM) as live:
        live.until(lambda: Change.objects.filter(key=key(1)).exists(), "it reads")
        take_recorded()
        kafka.drop(events_topic())
        live.until(lambda: Worker.objects.filter(pid=live.pid, note__contains="is missing").exists(), "it reports that")
        kafka.make(events_topic())
        send(kafka, 11)
        live.until(lambda: Change.objects.filter(key=key(11)).exists(), "it reads the new topic")
        assert live.terminate() == 0
        output = live.output
    assert "is missing: it was deleted or renamed. Waiting until it is back" in output
    assert "was deleted and created again" in output
    assert "Nothing is lost" not in output


def test_a_frozen_consumer_reports_messages_that_were_removed_meanwhile(kafka: Kafka, events: None) -> None:
    send(kafka, 1)
    with consumer(kafka, *DEBEZIUM) as live:
        live.until(lambda: Change.objects.filter(key=key(1)).exists(), "it reads")
        live.freeze()
        send(kafka, *range(2, 40))
        kafka.remove_before(events_topic(), 30)
        live.thaw()
        live.until(lambda: Change.objects.filter(key=key(39)).exists(), "it continues")
        live.terminate()
        output = live.output
    recorded = take_recorded()
    assert {*range(31, 40)} <= recorded
    assert set(range(2, 40)) <= recorded or "messages were removed before they were read" in output, output


def test_a_consumer_that_is_killed_and_whose_topic_is_created_again_misses_nothing(
    kafka: Kafka, mongo: Database
) -> None:
    story()
    publish()
    with consumer(kafka, *REPLICA):
        wait_for(lambda: replica(mongo, "stories_1") == rows(), "it reads")
    kafka.drop(TOPIC)
    for number in range(20):
        story(title=f"new {number}")
    Story.objects.update(diggs=5)
    publish()
    with consumer(kafka, *REPLICA) as live:
        live.until(lambda: replica(mongo, "stories_1") == rows(), "it reads the new topic")
        live.terminate()
        output = live.output
    assert "was deleted and created again" in output
    assert "sync backfill story" in output


def test_a_replica_whose_topic_is_created_again_meanwhile_is_in_sync(kafka: Kafka, mongo: Database) -> None:
    for _ in range(3):
        story()
    publish()
    with consumer(kafka, *REPLICA) as live:
        live.until(lambda: replica(mongo, "stories_1") == rows(), "it reads")
        kafka.drop(TOPIC)
        for _ in range(30):
            story()
        Story.objects.update(diggs=7)
        publish()
        live.until(lambda: replica(mongo, "stories_1") == rows(), "it reads the new topic from its start")
        assert live.terminate() == 0
        output = live.output
    assert output.count("was deleted and created again") == 1, output


def test_documents_that_a_new_topic_does_not_have_are_counted(
    kafka: Kafka, mongo: Database, capsys: pytest.CaptureFixture
) -> None:
    stays, goes = story(), story()
    publish()
    assert consume(*REPLICA) == 0
    kafka.drop(TOPIC)
    goes.delete()
    Change.objects.all().delete()
    stays.save()
    publish()
    capsys.readouterr()
    assert consume(*REPLICA) == 1
    assert "stories_1 has 1 document that story-events does not have" in capsys.readouterr().out


def test_a_replica_does_not_continue_after_a_gap(kafka: Kafka, mongo: Database, capsys: pytest.CaptureFixture) -> None:
    kafka.make(TOPIC, 5)
    story()
    publish()
    assert consume(*REPLICA) == 0
    for _ in range(5):
        story()
    publish()
    for partition in range(kafka.partitions(TOPIC)):
        kafka.remove_before(TOPIC, kafka.end(TOPIC, partition), partition)
    for _ in range(2):
        assert consume(*REPLICA) == 1, "until an operator handles the gap"
        assert len(replica(mongo, "stories_1")) == 1
    assert "messages were removed before they were read" in capsys.readouterr().out
    assert consume(*REPLICA, "--from-beginning") == 0
    Story.objects.update(diggs=3)
    publish()
    assert consume(*REPLICA) == 0
    assert replica(mongo, "stories_1") == rows()


def test_a_consumer_stopped_for_longer_than_deletes_are_kept_reports_it(
    kafka: Kafka, mongo: Database, capsys: pytest.CaptureFixture
) -> None:
    one = story()
    publish()
    assert consume(*REPLICA) == 0
    one.delete()
    publish()
    kafka.configure(TOPIC, "delete.retention.ms", "1")
    assert consume(*REPLICA) == 1
    assert "deletes may have been removed before they were read" in capsys.readouterr().out
    mongo.stories_1.drop()
    assert consume(*REPLICA, "--from-beginning") == 0
    assert consume(*REPLICA) == 0, "nothing has come since"
    assert replica(mongo, "stories_1") == rows() == {}


def test_events_lost_from_a_compacted_topic_are_recovered(kafka: Kafka, events: None) -> None:
    kafka.configure(events_topic(), "cleanup.policy", "compact")
    send(kafka, 1)
    assert consume(*DEBEZIUM) == 0
    send(kafka, 2)
    assert consume(*DEBEZIUM) == 0, "deletes are kept for a day"
    send(kafka, 3)
    kafka.configure(events_topic(), "delete.retention.ms", "1")
    take_recorded()
    assert consume(*DEBEZIUM) == 1
    assert take_full_delivery()
    assert take_recorded() == {1, 2, 3}


def test_a_missing_topic_that_was_read_before_is_reported(
    kafka: Kafka, mongo: Database, capsys: pytest.CaptureFixture
) -> None:
    kafka.make(events_topic())
    send(kafka, 1)
    arguments = ("consume", "--format", "debezium", "--prefix", "dbserver1")  # the other tables have no topic yet
    assert consume(*arguments) == 0
    kafka.make(f"dbserver1.{connection.settings_dict['NAME']}.finance_account")
    assert consume(*arguments) == 0
    kafka.drop(events_topic())
    capsys.readouterr()
    assert consume(*arguments) == 1
    assert f"The topic {events_topic()} was read before and is missing" in capsys.readouterr().out
    assert consume(*DEBEZIUM) == 2


@pytest.mark.slow
def test_another_cluster_at_the_same_address_is_recognised_live_and_at_the_start(
    kafka: Kafka, mongo: Database, capsys: pytest.CaptureFixture
) -> None:
    story()
    publish()
    kafka.make(events_topic())
    send(kafka, 1, 2)
    assert (consume(*REPLICA), consume(*DEBEZIUM)) == (0, 0)
    take_recorded()
    other = Kafka(kafka.folder.parent / "other")
    other.port, other.cluster = kafka.port, "b3RoZXItY2x1c3Rlci0wMQ"
    try:
        with consumer(kafka, *DEBEZIUM) as live:
            kafka.kill()
            other.start()
            other.make(events_topic())
            other.make(TOPIC)
            send(other, 11, 12, 13)
            live.until(lambda: Change.objects.filter(key=key(13)).exists(), "it reads the other cluster's messages")
            live.terminate()
            output = live.output
        assert "was read from the Kafka cluster" in output
        assert take_full_delivery()
        assert take_recorded() == {11, 12, 13}
        assert consume(*REPLICA) == 1
        assert "was read from the Kafka cluster" in capsys.readouterr().out
        assert replica(mongo, "stories_1") == rows()
    finally:
        other.stop()
