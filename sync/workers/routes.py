"""Routes: the ways that changes take, each with one checkpoint, whose name starts with its kind.

    pull:MODEL            MongoDB to the rows of a pulled model
    copy:HOST/NAMESPACE   a collection to another one
    follow-binlog         the binary log to changes
    publish               changes to Kafka
    consume:GROUP         Kafka to the group's target

Delivery from changes to MongoDB is not a route: its position is the changes themselves, and each of its targets is
paused separately.
"""

from __future__ import annotations

import time
from enum import StrEnum

from django.db import DEFAULT_DB_ALIAS, DatabaseError

from sync.workers.models import Checkpoint

PAUSE_AGE = 1.0  # seconds for which an answer about a pause is used
UNREACHABLE_AGE = 30.0  # the same, if there was no answer


class Route(StrEnum):
    """The kinds of routes. The values are the prefixes of their checkpoints' names."""

    PULL = "pull"
    COPY = "copy"
    FOLLOW_BINLOG = "follow-binlog"
    PUBLISH = "publish"
    CONSUME = "consume"

    def of(self, what: str) -> str:
        """The name of the checkpoint of one of these routes."""
        return f"{self}:{what}"[:255]


class RoutePause:
    """Whether an operator has paused a route, for routes whose state is not in the table of checkpoints.

    Queries the database at most once in PAUSE_AGE seconds, and in UNREACHABLE_AGE after it did not respond, which may
    take long. Meanwhile its last answer is used: a route that does not need this database continues without it.
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
