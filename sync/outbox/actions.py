"""What operators do to changes and targets. Commands and pages do it here, and tell the same of it.

A change in flight, which a worker is delivering or has yet to confirm, is never taken out of its hands: it is skipped,
and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db import DEFAULT_DB_ALIAS, transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sync.core.clock import DatabaseNow
from sync.core.retry import tried_again
from sync.mapping.registry import Target
from sync.outbox.capture import record
from sync.outbox.models import Change, ChangeQuerySet, ModelState, in_hand

RETRY, DISCARD = "retry", "discard"
DONE = {
    RETRY: lambda n: ngettext("%s change will be retried now.", "%s changes will be retried now.", n),
    DISCARD: lambda n: ngettext("%s change was discarded.", "%s changes were discarded.", n),
}


class Outcome(NamedTuple):
    """To how many changes it was done, how many were skipped as they are in flight, and how many for another reason."""

    done: int
    in_flight: int = 0
    skipped: int = 0

    @property
    def is_complete(self) -> bool:
        return not (self.in_flight or self.skipped)


@tried_again
def retry(changes: ChangeQuerySet) -> Outcome:
    """Makes those that failed, or wait for their next try, due now."""
    chosen = changes.order_by()
    in_flight = chosen.filter(in_hand()).count()
    # A delete that settles was delivered, and waits for its second time as long as it has to.
    free = chosen.exclude(in_hand()).exclude(settling=True, error="", failed=False)
    return Outcome(free.update(failed=False, attempts=0, claim="", due_at=DatabaseNow()), in_flight)


@tried_again
def discard(changes: ChangeQuerySet) -> Outcome:
    """Forgets those that failed. Their documents stay as they are, and verify goes on naming them."""
    chosen = changes.order_by()
    in_flight = chosen.filter(in_hand()).count()
    # One statement: what somebody retries meanwhile has not failed any more, and stays.
    return Outcome(chosen.filter(failed=True)._raw_delete(chosen.db), in_flight)


def deliver_again(
    targets: Sequence[Target], keys: Sequence[str], *, inline: bool, using: str = DEFAULT_DB_ALIAS
) -> Outcome:
    """Records these rows of one model as changed; what had failed for them is replaced. inline: delivers on commit."""
    labels = [target.label for target in targets]
    changes: ChangeQuerySet = Change.objects.using(using).filter(model__in=labels, key__in=keys, until="")
    with transaction.atomic(using):
        in_flight = changes.filter(in_hand()).count()
        changes.filter(failed=True)._raw_delete(using)
        record(targets[0].model, list(keys), using, inline=inline, to=list(targets))
    return Outcome(len(keys), in_flight)


def set_paused(labels: Sequence[str], *, paused: bool, using: str = DEFAULT_DB_ALIAS) -> list[str]:
    """Pauses or resumes the targets with these labels; a sentence for each. What is in flight is finished."""
    told = []
    for name in labels:
        state, _created = ModelState.objects.using(using).get_or_create(model=name)
        changed = ModelState.objects.using(using).filter(model=name, paused=not paused).update(paused=paused)
        told.append(_paused(changed=bool(changed), paused=paused) % state.model)
    return told


def _paused(*, changed: bool, paused: bool) -> str:
    if changed:
        return _("Delivery of %s is paused.") if paused else _("Delivery of %s is resumed.")
    return _("Delivery of %s was paused already.") if paused else _("Delivery of %s was not paused.")


def told(act: str, outcome: Outcome) -> list[str]:
    """What was done, and what was skipped and why: a sentence each, the first about what was done."""
    sentences = [DONE[act](outcome.done) % f"{outcome.done:,}"]
    if outcome.in_flight:
        sentences.append(_("%s skipped: in flight.") % f"{outcome.in_flight:,}")
    if outcome.skipped:
        sentences.append(_("%s skipped: already delivered or not failed.") % f"{outcome.skipped:,}")
    return sentences
