"""Delivery: makes documents equal to committed rows. Every route ends here: inline, relay, backfill, repair.

The protocol, for a number of keys of one model (optimistic concurrency on the document):

1. Claim the changes for a bounded time, the lease. Inline delivery's changes are born claimed.
2. Read the documents' versions, `_sync.v`, from MongoDB's primary.
3. After that, read the rows: committed state, READ COMMITTED, from MySQL.
4. Write each document only if its version is still the one seen: replace where it is unchanged, insert where there
   was none, delete where it is unchanged and the row is gone. The new version is larger than the old one.
5. A key whose write met another writer's (a conflict) keeps its changes for another round. For the others the claimed
   changes are removed, if they are still ours.

What has to be written where there was no document has no version to compare with, and could put back what has been
deleted meanwhile. Two things together prevent that, whoever is frozen or whatever is delayed on its way for however
long. An insert carries its own deadline, one lease after step 2, and MongoDB refuses it afterwards by its own clock.
And a delete settles: its change stays and is delivered once more after SYNC_SETTLE, which is longer than the lease,
when every insert begun before the delete has landed or can land no more.

Inline delivery does not wait for the majority, nor for a journal: it writes, and leaves its changes as they are. A
relay takes them up SYNC_CONFIRM later. Where the document that the majority has was written by the very transaction
that recorded the change (`_sync.by` is the token the change was born with), the change has done its work and is
removed; otherwise the key is delivered again, as after a failover that has undone the write. Where a relay finds
neither row nor document, it waits for the majority, too, and looks whether that has none: the document may be gone by
inline delivery's unconfirmed delete, and come back with a failover.

Everything may be delivered twice; nothing depends on who holds a lease, or on the order of changes.
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
from sync.mapping.registry import Target, find_target
from sync.mongodb.breaker import BREAKER
from sync.mongodb.errors import Unavailable
from sync.outbox import mongo_writer
from sync.outbox.models import Change, Claimed
from sync.outbox.mongo_writer import Outcome, State, Writer, deliver
from sync.outbox.pauses import PAUSED
from sync.workers.heartbeat import INLINE_HEARTBEAT

logger = logging.getLogger(__name__)

Remove = Callable[[list[Claimed], str, str], None]
INLINE_ROUNDS = 3  # how often inline delivery tries keys that others are writing too


def deliver_inline(changes: list[Claimed], token: str, using: str, *, some_rolled_back: bool) -> None:
    """Delivers a transaction's changes right after its commit, in bounded time. Never raises: the relay takes over.

    some_rolled_back: some of the changes may have gone with a savepoint.
    """
    start, done, labels = time.monotonic(), 0, {change.model for change in changes}
    try:
        if len(changes) > conf.INLINE_MAX_KEYS or not PAUSED(using).isdisjoint(labels):
            _release(changes, token, using)
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
        # The save has committed and must not seem to have failed. Changes keep their lease, then the relay takes them.
        are = counted(len(changes), "change is", "changes are")
        logger.exception("Inline delivery failed; %s left to the relay", are)


@dataclass
class Delivered:
    """How many keys came to which state, and the changes of those in conflict, still claimed.

    done: the changes delivered here and for the first time: not those confirmed, nor a delete that settles.
    """

    counts: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    conflicts: list[Claimed] = field(default_factory=list)
    done: list[Claimed] = field(default_factory=list)

    @property
    def keys(self) -> int:
        """How many keys are equal now."""
        return self.counts[State.DELIVERED] + self.counts[State.DELETED]


def remove_changes(changes: list[Claimed], token: str, using: str) -> None:
    """Removes those that are still ours."""
    Change.objects.using(using).remove(changes, token)


def _by_model(changes: Iterable[Claimed]) -> dict[str, dict[str, list[Claimed]]]:
    by_model: dict[str, dict[str, list[Claimed]]] = defaultdict(lambda: defaultdict(list))
    for change in changes:
        by_model[change.model][change.key].append(change)
    return by_model


def _deliver_unconfirmed(changes: Iterable[Claimed], token: str, using: str) -> Delivered:
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
    changes: Iterable[Claimed], token: str, using: str, writer: Writer = mongo_writer, remove: Remove = remove_changes
) -> Delivered:
    """Steps 2 to 5 for claimed changes of any models. remove: what removes them at last.

    Raises Unavailable, and what else the writer's server raises.
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
            outcome = writer.deliver(target, by_key, using, token) if by_key else Outcome()
            equal = [key for key, state in outcome.states.items() if state in (State.DELIVERED, State.DELETED)]
            _retry_dead_letters(target, [*known, *equal], using)
        for key, state in outcome.states.items():
            delivered.counts[state] += 1
            if state in (State.DELIVERED, State.DELETED):
                delivered.done += [change for change in by_key[key] if _is_first(change)]
        delivered.conflicts += _finish(by_key, outcome, token, using, remove)
    return delivered


def _is_first(change: Claimed) -> bool:
    """Neither a delete that settles, nor what was born in the hands of inline delivery, which has counted it."""
    born_claimed = change.claim and change.due_at < change.recorded_at + timedelta(seconds=conf.LEASE)
    return not (change.settling or born_claimed)


def _confirm(target: Target, by_key: dict[str, list[Claimed]], token: str, using: str, writer: Writer) -> set[str]:
    """Removes the changes of keys that were delivered by those who held them before, and are confirmed; the keys."""
    before = {key: {change.claim for change in changes} for key, changes in by_key.items()}
    tokens = {key: claims.pop() for key, claims in before.items() if len(claims) == 1 and "" not in claims}
    keys = writer.confirmed(target, tokens) if tokens else set()
    remove_changes([change for key in keys for change in by_key[key]], token, using)
    return keys


def _finish(
    by_key: dict[str, list[Claimed]], outcome: Outcome, token: str, using: str, remove: Remove
) -> list[Claimed]:
    """Step 5. Returns the changes that need another round; they are still claimed."""
    done: list[Claimed] = []
    settle: list[Claimed] = []
    again: list[Claimed] = []
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


def _retry_dead_letters(target: Target, keys: list[str], using: str) -> None:
    """A dead letter of a key that could be delivered is tried again: it is out of date, or has been fixed.

    It is not just removed: it may be newer than what was delivered here.
    """
    dead_letters = Change.objects.using(using).filter(queue=target.queue, failed=True)
    if keys and dead_letters.exists():
        for part in chunks(keys):
            dead_letters.filter(model=target.label, key__in=part).retry()


def _release(changes: Collection[Claimed], token: str, using: str) -> None:
    """Gives claimed changes back: whoever comes next may take them at once."""
    if changes:
        Change.objects.using(using).held(changes, token).release()


def release_quietly(changes: Collection[Claimed], token: str, using: str) -> None:
    """Gives claimed changes back when MongoDB does not serve; when the database does not either, they wait."""
    try:
        _release(changes, token, using)
    except DatabaseError:
        could = counted(len(changes), "change could", "changes could")
        logger.warning("%s not be released; the lease will expire", could)


def _put_off(changes: list[Claimed], why: str, token: str, using: str) -> None:
    """One more failed try of one row: later again, or a dead letter after the last."""
    attempts = max(change.attempts for change in changes) + 1
    Change.objects.using(using).held(changes, token).put_off(why, attempts)
