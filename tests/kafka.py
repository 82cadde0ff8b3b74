"""A real Kafka broker, started by the first test that needs it and stopped at the end of the run."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from tests.servers import ROOT, SERVERS, Server, free_port

sys.path.insert(0, str(ROOT / "script"))
import kafka_broker  # script/ is a folder of commands, not a package


class Kafka(Server):
    """One broker. The methods read and write it with separate clients."""

    listeners: Sequence[kafka_broker.Listener] = ()
    cluster = kafka_broker.CLUSTER

    def start(self) -> None:
        if not hasattr(self, "controller"):
            self.controller = free_port()
        self.process = kafka_broker.start(
            kafka_broker.jars(ROOT / "var" / "kafka"), self.folder, self.port, self.controller,
            listeners=self.listeners, cluster=self.cluster,
        )  # fmt: skip

    @property
    def settings(self) -> dict[str, Any]:
        """For SYNC_KAFKA, with short timeouts: the group soon notices a dead member."""
        return {
            "bootstrap.servers": f"127.0.0.1:{self.port}", "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
        }  # fmt: skip

    @property
    def _client(self) -> dict[str, Any]:
        return {"bootstrap.servers": f"127.0.0.1:{self.port}"}

    def empty(self) -> None:
        """Removes all topics except Kafka's own."""
        admin = AdminClient(self._client)
        names = [name for name in admin.list_topics(timeout=20).topics if not name.startswith("__")]
        for done in (admin.delete_topics(names) if names else {}).values():
            done.result(20)

    def partitions(self, topic: str) -> int:
        """The topic's number of partitions; 0 if there is no such topic."""
        found = AdminClient(self._client).list_topics(timeout=20).topics
        return len(found[topic].partitions) if topic in found else 0

    def grow(self, topic: str, partitions: int) -> None:
        """Adds partitions to a topic."""
        admin = AdminClient(self._client)  # must live until the call is done
        for done in admin.create_partitions([NewPartitions(topic, partitions)]).values():
            done.result(20)

    def config(self, topic: str) -> dict[str, str]:
        """The topic's settings."""
        admin = AdminClient(self._client)
        asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])
        [done] = asked.values()
        return {name: entry.value for name, entry in done.result(20).items()}

    def make(self, topic: str, partitions: int = 1) -> None:
        """Creates a topic, as another program does."""
        admin = AdminClient(self._client)  # must live until the call is done
        for done in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            done.result(20)

    def drop(self, topic: str) -> None:
        """Deletes a topic, and waits until it is gone."""
        admin = AdminClient(self._client)
        for done in admin.delete_topics([topic]).values():
            done.result(20)
        while self.partitions(topic):
            time.sleep(0.05)

    def configure(self, topic: str, name: str, value: str) -> None:
        """Sets one of the topic's settings."""
        admin = AdminClient(self._client)
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        asked = admin.incremental_alter_configs(
            [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]
        )
        for done in asked.values():
            done.result(20)

    def remove_before(self, topic: str, offset: int, partition: int = 0) -> None:
        """Removes the oldest messages of a partition, as retention or kafka-delete-records does."""
        admin = AdminClient(self._client)
        for done in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
            done.result(20)

    def end(self, topic: str, partition: int = 0) -> int:
        """The offset after the last message."""
        admin = AdminClient(self._client)
        [done] = admin.list_offsets({TopicPartition(topic, partition): OffsetSpec.latest()}).values()
        return done.result(20).offset

    def members(self, group: str) -> int:
        """The number of consumers in the group, according to Kafka."""
        admin = AdminClient(self._client)
        [done] = admin.describe_consumer_groups([group]).values()
        return len(done.result(20).members)

    def forget(self, group: str) -> None:
        """Removes a group without members, as Kafka does when its offsets have expired."""
        admin = AdminClient(self._client)
        for done in admin.delete_consumer_groups([group]).values():
            done.result(20)

    def reset(self, group: str, topic: str, offset: int, partition: int = 0) -> None:
        """Sets a group's offset, as kafka-consumer-groups --reset-offsets does."""
        admin = AdminClient(self._client)
        asked = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition, offset)])]
        for done in admin.alter_consumer_group_offsets(asked).values():
            done.result(20)

    def send(self, topic: str, *messages: tuple[Any, Any], partition: int = 0) -> None:
        """Sends (key, value) messages, as another program does."""
        producer, errors = Producer({**self._client, "acks": "all"}), []
        for key, value in messages:
            producer.produce(
                topic, key=key, value=value, partition=partition, on_delivery=lambda error, _: errors.append(error)
            )
        assert producer.flush(20) == 0
        assert set(errors) <= {None}

    def read(self, topic: str) -> list[Message]:
        """All committed messages, by partition and offset."""
        consumer = Consumer(
            {**self._client, "group.id": "test", "enable.partition.eof": True, "isolation.level": "read_committed"}
        )
        left = set(range(self.partitions(topic)))
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in left])
        messages = []
        give_up = time.monotonic() + 30
        while left and time.monotonic() < give_up:
            for message in consumer.consume(1000, timeout=0.2):
                if message.error() is None:
                    messages.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
        consumer.close()
        assert not left, "the topic was not read to its end"
        return sorted(messages, key=lambda message: (message.partition(), message.offset()))


@pytest.fixture
def kafka(settings: Any) -> Iterator[Kafka]:
    """The broker, without topics. A test may kill, freeze and restart it; it runs again after the test."""
    if SERVERS.kafka is None:
        broker = Kafka(SERVERS.place("kafka"))
        try:
            broker.start()
        except kafka_broker.DidNotStart as error:
            pytest.skip(str(error))
        SERVERS.kafka = broker
    broker = SERVERS.kafka
    broker.empty()
    settings.SYNC_KAFKA = broker.settings
    settings.SYNC_TIMEOUT = 20  # on a busy machine the broker is slow, not unreachable
    yield broker
    broker.thaw()
    if broker.status is not None:
        broker.start()
