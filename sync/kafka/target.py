"""Topics as targets: "kafka:topic", or "kafka:" for a topic named after the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from sync.core import conf
from sync.mapping.kinds import TargetKind
from sync.mapping.registry import Target


class KafkaTarget(TargetKind):
    """A topic, written by one publisher."""

    worker = "publisher"
    command = route = "publish"
    readable = False

    def writer(self) -> Any:
        return import_string("sync.kafka.publisher.Publisher")()  # here, because its library is an optional extra

    def check(self, targets: Sequence[Target]) -> list[CheckMessage]:
        if conf.KAFKA.get("bootstrap.servers"):
            return []
        labels = " and ".join(target.label for target in targets)
        hint = 'Set SYNC_KAFKA={"bootstrap.servers": "host:9092"}, and any other settings librdkafka needs to connect.'
        problem = f"SYNC_KAFKA has no bootstrap.servers, which publishing needs: {labels}."
        return [Error(problem, hint, id="sync.E018")]
