"""Routes: the ways that changes take, each with one checkpoint, whose name begins with its kind.

    pull:MODEL            MongoDB to the rows of a pulled model
    copy:HOST/NAMESPACE   a collection to another one
    follow-binlog         the binary log to changes
    publish               changes to Kafka
    consume:GROUP         Kafka to wherever the group writes

Delivery from changes to MongoDB is no route: it has no place to go on from but the changes themselves, and each of its
targets is paused by itself.
"""

from __future__ import annotations

import time
from enum import StrEnum

from django.db import DEFAULT_DB_ALIAS, DatabaseError

from sync.workers.models import Checkpoint

PAUSE_AGE = 1.0  # seconds for which an answer about a pause is believed
UNREACHABLE_AGE = 30.0  # the same, where there was none


class Route(StrEnum):
    """The kinds of routes. The values begin the names of their checkpoints."""

    PULL = "pull"
    COPY = "copy"
    FOLLOW_BINLOG = "follow-binlog"
    PUBLISH = "publish"
    CONSUME = "consume"

    def of(self, what: str) -> str:
        """The name of the checkpoint of one of these routes."""
        return f"{self}:{what}"[:255]


class RoutePause:
    """Whether an operator has paused a route: for those whose state is not in the table of checkpoints.

    The database is asked at most once in PAUSE_AGE seconds, and in UNREACHABLE_AGE after it did not answer, which may
    have taken long. Its last answer counts meanwhile: a route that does not need this database goes on without it.
    """

    def __init__(self, name: str, using: str = DEFAULT_DB_ALIAS) -> None:
        self.name = name
        self.using = using
        self.ask_at = float("-inf")
        self.answer = False

    def __call__(self) -> bool:
        if time.monotonic() > self.ask_at:
            try:
                self.answer = Checkpoint.objects.using(self.using).filter(name=self.name, paused=True).exists()
                self.ask_at = time.monotonic() + PAUSE_AGE
            except DatabaseError:
                self.ask_at = time.monotonic() + UNREACHABLE_AGE
        return self.answer
