"""Delivery: writes documents from committed rows. Every route ends here: inline, relay, backfill, repair.

The protocol, for a number of keys of one model (optimistic concurrency on the document):

1. Read changes that are due. Changes for inline delivery are born claimed: they are due when it must have ended.
2. Read the documents' versions, `_sync.v`, from MongoDB's primary.
3. After that, read the rows: committed state, READ COMMITTED, from MySQL.
4. Write each document only if its version is still the one read: replace it, insert it if there was none, or delete it
if the row is gone. The new version is larger than the old one.
5. A key whose write met another writer's (a conflict) keeps its changes for another round. For the other keys the
changes are removed, unless they are no longer due: another worker has put one off, or lets it settle.

An insert has no version to compare with, so it could restore a document that was deleted meanwhile. Two rules together
prevent that, however long a process is frozen or a message is delayed. An insert carries its own deadline, less than
one lease after step 3, and MongoDB refuses it afterwards by its own clock. And a deletion settles: its change stays and
is delivered once more after SYNC_SETTLE, which is longer than the lease, when every insert that began before the
deletion has arrived or can no longer arrive.

Inline delivery waits neither for the majority nor for a journal: it writes, and leaves its changes in the outbox. A
relay reads them SYNC_CONFIRM later. If the document that the majority has was written by the transaction that recorded
the change (`_sync.by` is the token the change was born with), the change is removed. Otherwise the key is delivered
again, for example after a failover that has undone the write. If a relay finds neither row nor document, it also waits
for the majority and checks that it has none: inline delivery's unconfirmed deletion could be undone by a failover.

Everything may be delivered twice, by several workers at once. Nothing depends on the worker that delivers, or on the
order of changes. Workers that would meet often claim changes for a bounded time, the lease: the ranges of a backfill, a
repair.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import pymongo
from django.db import Error as DatabaseError

from sync.core import conf
from sync.core.batching import chunks
from sync.core.humanize import counted
from sync.mapping.fields import new_object_id
from sync.mapping.registry import Target, find_target
from sync.mongodb.breaker import BREAKER
from sync.mongodb.errors import Unavailable
from sync.outbox import mongo_writer
from sync.outbox.models import Change, Taken
from sync.outbox.mongo_writer import Outcome, State, Writer, deliver
from sync.outbox.pauses import PAUSED
from sync.workers import bell
from sync.workers.heartbeat import INLINE_HEARTBEAT

logger = logging.getLogger(__name__)

Remove = Callable[[list[Taken], str, str], None]
INLINE_ROUNDS = 3  # how often inline delivery retries keys that other writers are writing


def deliver_inline(changes: list[Taken], token: str, using: str, *, some_rolled_back: bool) -> None:
    """Delivers a transaction's changes right after its commit, in bounded time. Never raises: the relay takes over.

    some_rolled_back: some of the changes may have been rolled back with a savepoint.
    """
    start, done, labels = time.monotonic(), 0, {change.model for change in changes}
    try:
        if len(changes) > conf.INLINE_MAX_KEYS or not PAUSED(using).isdisjoint(labels):
            _release(changes, token, using)
            bell.ring("", using)
            return
        if some_rolled_back:
            left = set(Change.objects.using(using).held(changes, token).values_list("pk", flat=True))
            changes = [change for change in changes if change.pk in left]
        with pymongo.timeout(conf.INLINE_TIMEOUT):
            for _ in range(INLINE_ROUNDS):
                delivered = _deliver_unconfirmed(changes, token, using)
                changes, done = delivered.conflicts, done + delivered.keys
                if not changes:
                    break
        BREAKER.succeeded()
        _release(changes, token, using)
        INLINE_HEARTBEAT.delivered_inline(done, time.monotonic() - start, using, labels=labels)
    except Unavailable as error:
        BREAKER.failed()
        logger.warning("%s; %s left to the relay", error, counted(len(changes), "change is", "changes are"))
        release_quietly(changes, token, using)
        INLINE_HEARTBEAT.delivered_inline(done, time.monotonic() - start, using, str(error), labels)
    except Exception:
        # The save has committed and must not seem to have failed. Changes keep their lease, then the relay claims them.
        are = counted(len(changes), "change is", "changes are")
        logger.exception("Inline delivery failed; %s left to the relay", are)


@dataclass
class Delivered:
    """How many keys came to which state, and the changes of those in conflict, which are left in the outbox.

    done: changes delivered here for the first time: without confirmed ones and settling deletions.
    """

    counts: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    conflicts: list[Taken] = field(default_factory=list)
    done: list[Taken] = field(default_factory=list)

    @property
    def keys(self) -> int:
        """How many keys are in sync now."""
        return self.counts[State.DELIVERED] + self.counts[State.DELETED]


def remove_changes(changes: list[Taken], token: str, using: str) -> None:
    """Removes those that this process still holds, or that are still due."""
    Change.objects.using(using).remove(changes, token)


def _by_model(changes: Iterable[Taken]) -> dict[str, dict[str, list[Taken]]]:
    by_model: dict[str, dict[str, list[Taken]]] = defaultdict(lambda: defaultdict(list))
    for change in changes:
        by_model[change.model][change.key].append(change)
    return by_model


def _deliver_unconfirmed(changes: Iterable[Taken], token: str, using: str) -> Delivered:
    """Steps 2 to 4 for changes that a relay will confirm."""
    delivered = Delivered()
    for label, by_key in _by_model(changes).items():
        outcome = deliver(find_target(label), by_key, using, token, majority=False)
        for key, state in outcome.states.items():
            delivered.counts[state] += 1
            if state is State.CONFLICT:
                delivered.conflicts += by_key[key]
            elif state is State.REJECTED:
                _put_off(by_key[key], outcome.reasons[key], token, using)
    return delivered


def deliver_changes(
    changes: Iterable[Taken], token: str, using: str, writer: Writer = mongo_writer, remove: Remove = remove_changes
) -> Delivered:
    """Steps 2 to 5 for changes of any models.

    token: of their claim, or "" if they were read without one. remove: the function that removes them at the end.

    Raises Unavailable, and whatever the writer's server raises.
    """
    delivered = Delivered()
    for label, by_key in _by_model(changes).items():
        try:
            target = find_target(label)
        except LookupError:
            outcome = Outcome()
            for key in by_key:
                outcome.reject(key, f"the target {label} no longer exists")
        else:
            known = set() if writer.exclusive else _confirm(target, by_key, token, using, writer)
            delivered.counts[State.DELIVERED] += len(known)
            by_key = {key: changes for key, changes in by_key.items() if key not in known}
            outcome = writer.deliver(target, by_key, using, token or new_object_id()) if by_key else Outcome()
            equal = [key for key, state in outcome.states.items() if state in (State.DELIVERED, State.DELETED)]
            retry_dead_letters(target, [*known, *equal], using)
        for key, state in outcome.states.items():
            delivered.counts[state] += 1
            if state in (State.DELIVERED, State.DELETED):
                delivered.done += [change for change in by_key[key] if _is_first(change)]
        delivered.conflicts += _finish(by_key, outcome, token, using, remove)
    return delivered


def _is_first(change: Taken) -> bool:
    """False for a settling deletion and for a change born claimed by inline delivery, which has counted it."""
    born_claimed = change.claim and change.due_at < change.recorded_at + timedelta(seconds=conf.LEASE)
    return not (change.settling or born_claimed)


def _confirm(target: Target, by_key: dict[str, list[Taken]], token: str, using: str, writer: Writer) -> set[str]:
    """Removes the changes of keys that their former holders delivered and that are confirmed now; returns the keys."""
    before = {key: {change.claim for change in changes} for key, changes in by_key.items()}
    tokens = {key: claims.pop() for key, claims in before.items() if len(claims) == 1 and "" not in claims}
    keys = writer.confirmed(target, tokens) if tokens else set()
    remove_changes([change for key in keys for change in by_key[key]], token, using)
    return keys


def _finish(by_key: dict[str, list[Taken]], outcome: Outcome, token: str, using: str, remove: Remove) -> list[Taken]:
    """Step 5. Returns the changes that need another round."""
    done: list[Taken] = []
    settle: list[Taken] = []
    again: list[Taken] = []
    for key, changes in by_key.items():
        state = outcome.states[key]
        if state is State.CONFLICT:
            again += changes
        elif state is State.REJECTED:
            _put_off(changes, outcome.reasons[key], token, using)
        elif state is State.DELETED and not all(change.settling for change in changes):
            settle.append(changes[0])
            done += changes[1:]
        else:
            done += changes
    if done:
        remove(done, token, using)
    if settle:
        Change.objects.using(using).held(settle, token).settle()
    return again


def retry_dead_letters(target: Target, keys: list[str], using: str) -> None:
    """Retries the dead letter of a key that could be delivered: it is out of date, or has been fixed.

    It is not simply removed, because it may be newer than what was delivered here.
    """
    changes = Change.objects.using(using)
    if keys and changes.any_failed(target.queue):
        dead_letters = changes.filter(queue=target.queue, failed=True)
        for part in chunks(keys):
            dead_letters.filter(model=target.label, key__in=part).retry()


def _release(changes: Collection[Taken], token: str, using: str) -> None:
    """Returns claimed changes to the queue: another worker may claim them at once."""
    if changes:
        Change.objects.using(using).held(changes, token).release()


def release_quietly(changes: Collection[Taken], token: str, using: str) -> None:
    """Returns claimed changes when MongoDB is unreachable; if the database is, too, their lease expires."""
    try:
        _release(changes, token, using)
    except DatabaseError:
        could = counted(len(changes), "change could", "changes could")
        logger.warning("%s not be released; the lease will expire", could)


def _put_off(changes: list[Taken], why: str, token: str, using: str) -> None:
    """Records another failed attempt for one row: retried later, or a dead letter after the last attempt."""
    attempts = max(change.attempts for change in changes) + 1
    Change.objects.using(using).held(changes, token).put_off(why, attempts)
