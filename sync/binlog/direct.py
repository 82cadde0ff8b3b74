"""Direct delivery: the follower delivers a batch of keys itself, because the log already is their outbox.

The log's position after a batch is saved only when the majority of MongoDB has the documents, so a follower that is
killed delivers them again. Changes are recorded only for what needs one: a deletion that has to settle, a row that
MongoDB refuses, a target that is paused or that relays deliver to, and everything while MongoDB is unreachable, so
that the server may remove its logs.

Rows are read after the batch's events, as delivery.py asks. But an event can be in the log before its transaction is
visible to readers. So the follower commits its checkpoint in between: MySQL and MariaDB make transactions visible in
the log's order, and when that commit returns, everything before it is visible. sync/tests/support/log_model.py is the
model of this protocol.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pymongo
from django.db import ProgrammingError

from sync.binlog.keys import Key
from sync.binlog.tables import VIA
from sync.core import conf
from sync.core.batching import chunks
from sync.core.clock import DatabaseNow
from sync.mapping.fields import new_object_id
from sync.mapping.registry import Target, find_target, targets
from sync.mongodb.breaker import Breaker
from sync.mongodb.errors import Unavailable
from sync.outbox import mongo_writer
from sync.outbox.capture import record, record_concerned
from sync.outbox.delivery import retry_dead_letters
from sync.outbox.models import Change, delay
from sync.outbox.mongo_writer import Outcome, State
from sync.outbox.parents import Concerned
from sync.outbox.pauses import PAUSED

logger = logging.getLogger(__name__)

ROUNDS = 3  # how often a key is tried that other writers are writing


@dataclass
class Left:
    """What is left of a batch for relays."""

    keys: list[tuple[type[Any], list[str], list[Target]]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)  # deletions that settle, and refused rows
    fan_outs: list[Key] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.keys or self.changes or self.fan_outs)

    def record(self, using: str) -> None:
        """Records it, in the caller's transaction."""
        for model, keys, to in self.keys:
            record(model, keys, using, inline=False, to=to)
        if self.changes:
            Change.objects.using(using).bulk_create(self.changes, batch_size=500)
        record_fan_outs(self.fan_outs, using)


def record_fan_outs(keys: Iterable[Key], using: str) -> None:
    """Records fan-outs, in the caller's transaction, from keys whose label names a target and a path in it."""
    grouped: dict[str, set[str]] = defaultdict(set)
    for label, key in keys:
        grouped[label].add(key)
    for label, rows in grouped.items():
        target, _, path = label.partition(VIA)
        with suppress(LookupError):  # the target is gone, and its documents with it
            record_concerned([Concerned(find_target(target), path, frozenset(rows))], using, inline=False)


class DirectDelivery:
    """Delivers keys to the collections in MONGODB_URI's database. Other targets are left to their relays."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.breaker = Breaker()
        self.trouble = ""

    def deliver(self, model: type[Any], keys: Sequence[str], left: Left) -> dict[str, int]:
        """Delivers keys of one model, and adds to `left` what is left of them. Returns how many, by target's label."""
        paused = PAUSED(self.using)
        mine = [target for target in targets(model) if target.queue == "" and target.label not in paused]
        if others := [target for target in targets(model) if target not in mine]:
            left.keys.append((model, list(keys), others))
        return {
            target.label: sum(self._deliver(target, part, left) for part in chunks(keys, conf.BATCH)) for target in mine
        }

    def _deliver(self, target: Target, keys: Sequence[str], left: Left) -> int:
        rest: Collection[str] = keys
        if self.breaker.allows():
            try:
                outcome = self._try(target, keys)
            except (Unavailable, ProgrammingError) as error:  # during a deployment, tables may not be the models'
                self.breaker.failed()
                self._fails(str(error))
            else:
                self._works()
                rest = [key for key in keys if outcome.states[key] is State.CONFLICT]
                left.changes += _changes(target, outcome)
        if rest:
            left.keys.append((target.model, list(rest), [target]))
        return len(keys) - len(rest)

    def _try(self, target: Target, keys: Sequence[str]) -> Outcome:
        outcome = Outcome()
        rest: Collection[str] = keys
        with pymongo.timeout(conf.TIMEOUT):
            for _ in range(ROUNDS):
                found = mongo_writer.deliver(target, rest, self.using, new_object_id())
                outcome.states |= found.states
                outcome.reasons |= found.reasons
                rest = [key for key, state in found.states.items() if state is State.CONFLICT]
                if not rest:
                    break
        equal = [key for key, state in outcome.states.items() if state in (State.DELIVERED, State.DELETED)]
        retry_dead_letters(target, equal, self.using)
        return outcome

    def _works(self) -> None:
        self.breaker.succeeded()
        if self.trouble:
            logger.info("Delivering again.")
        self.trouble = ""

    def _fails(self, trouble: str) -> None:
        if trouble != self.trouble:
            logger.warning("%s. Changes are recorded for the relay until it is back.", trouble)
        self.trouble = trouble


def _changes(target: Target, outcome: Outcome) -> list[Change]:
    """The changes that delivered deletions and refused rows need."""
    made = []
    for key, state in outcome.states.items():
        if state is State.DELETED:
            values = {"settling": True, "due_at": DatabaseNow() + timedelta(seconds=conf.SETTLE)}
        elif state is State.REJECTED:
            failed = conf.MAX_ATTEMPTS <= 1
            why, due_at = outcome.reasons[key][:2000], DatabaseNow() + delay(1)
            values = {"attempts": 1, "error": why, "failed": failed, "due_at": due_at}
        else:
            continue
        made.append(Change(model=target.label, queue=target.queue, key=key, **values))
    return made
