"""Routes from a source to a target. Each has one checkpoint, whose name starts with the kind of the route.

    pull:MODEL            MongoDB to the rows of a pulled model
    copy:HOST/NAMESPACE   a MongoDB collection to another one
    follow-binlog         the binary log to changes
    publish               changes to Kafka
    consume:GROUP         Kafka to the targets of the consumer group

Delivery from the outbox to MongoDB is not a route: it has no checkpoint besides the changes themselves, and its targets
are paused one by one.
"""

from __future__ import annotations

import time
from enum import StrEnum

from django.db import DEFAULT_DB_ALIAS, DatabaseError

from sync.workers.models import Checkpoint

PAUSE_AGE = 1.0  # seconds for which the answer of the database is cached
UNREACHABLE_AGE = 30.0  # seconds until the next query after the database did not respond


class Route(StrEnum):
    """The kinds of routes. The names of their checkpoints start with these values."""

    PULL = "pull"
    COPY = "copy"
    FOLLOW_BINLOG = "follow-binlog"
    PUBLISH = "publish"
    CONSUME = "consume"

    def of(self, what: str) -> str:
        """Returns the name of the checkpoint of one route of this kind."""
        return f"{self}:{what}"[:255]


class RoutePause:
    """Returns, when called, whether an operator has paused a route whose state is not in the table of checkpoints.

    Queries the database at most once in PAUSE_AGE seconds, and once in UNREACHABLE_AGE seconds after it did not
    respond. The last answer counts meanwhile, so a route that does not need this database continues without it.
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
