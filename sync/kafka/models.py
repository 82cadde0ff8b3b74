"""The positions up to which consumers have read."""

from __future__ import annotations

from django.db import models


class KafkaPosition(models.Model):
    """The position of `sync consume --format debezium` in one partition, with the ids of its topic and cluster.

    Saved in the transaction that records the changes read from the partition.
    """

    group = models.CharField(max_length=255, help_text="The consumer group.")
    topic = models.CharField(max_length=249)
    partition = models.PositiveIntegerField()
    cluster = models.CharField(max_length=100, help_text="The cluster's id.")
    topic_id = models.CharField(max_length=50, help_text="A recreated topic of the same name has another one.")
    offset = models.BigIntegerField(help_text="The next message to read.")
    read_at = models.DateTimeField(null=True, help_text="When the topic was last read to its end, or reading started.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "topic", "partition"], name="sync_kafka_position")]

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition} at {self.offset}"
