"""Kinds of targets. One class for each kind has what differs between MongoDB, Kafka and a file.

A new kind is a module with a class of its own, and a line in KINDS.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from sync.mapping.registry import Target


class TargetKind:
    """What the kind of a target decides; the defaults are those of a MongoDB collection.

    worker: the kind of worker (a value of workers.heartbeat.Kind) that delivers its changes. command: what starts one.
    route: the route (of workers.routes) that pauses all its targets; empty if each is paused separately.
    readable: whether its content can be read by key, so that rows can be compared with it, counted and repaired.
    """

    worker = "relay"
    command = "relay"
    route = ""
    readable = True

    def queue(self, name: str) -> str:
        """The queue of the target with this name: targets in one queue delay each other."""
        return name.partition(":")[0]

    def writer(self) -> Any:
        """The sync.outbox.mongo_writer.Writer that delivers to it. One for each worker."""
        return import_module("sync.outbox.mongo_writer")

    def check(self, targets: Sequence[Target]) -> list[CheckMessage]:
        """Problems in the settings of these targets, which are all of the kind."""
        return []


# By the alias that prefixes the names of its targets. The aliases of MongoDB's are in SYNC_TARGETS.
KINDS = {
    "kafka": "sync.kafka.target.KafkaTarget",
    "file": "sync.outbox.file_target.FileTarget",
}
MONGODB = TargetKind()


@functools.cache
def kind_of(queue: str) -> TargetKind:
    """The kind of the targets of a queue, whose name starts with their alias."""
    alias = queue.partition(":")[0]
    kind: TargetKind = import_string(KINDS[alias])() if alias in KINDS else MONGODB
    return kind
