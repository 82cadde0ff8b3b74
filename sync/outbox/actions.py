"""What operators do to changes and targets. Commands and pages call these functions and report the same results.

A change in flight, which a worker is delivering or has yet to confirm, is never taken from that worker: it is skipped
and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import DEFAULT_DB_ALIAS, transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sync.mapping.registry import Target
from sync.outbox.capture import record
from sync.outbox.models import Acted, Change, ChangeQuerySet, in_flight
from sync.outbox.pauses import PAUSED
from sync.workers.models import ModelState

RETRY, DISCARD = "retry", "discard"
DONE = {
    RETRY: lambda n: ngettext("%s change will be retried now.", "%s changes will be retried now.", n),
    DISCARD: lambda n: ngettext("%s change was discarded.", "%s changes were discarded.", n),
}


def deliver_again(
    targets: Sequence[Target], keys: Sequence[str], *, inline: bool, using: str = DEFAULT_DB_ALIAS
) -> Acted:
    """Records these rows of one model as changed and replaces their failed changes. inline: delivers on commit."""
    labels = [target.label for target in targets]
    changes: ChangeQuerySet = Change.objects.using(using).filter(model__in=labels, key__in=keys, until="")
    with transaction.atomic(using):
        skipped = changes.filter(in_flight()).count()
        for part in changes.filter(failed=True).parts():
            part.delete()
        record(targets[0].model, list(keys), using, inline=inline, to=list(targets))
    return Acted(len(keys), skipped)


def set_paused(labels: Sequence[str], *, paused: bool, using: str = DEFAULT_DB_ALIAS) -> list[str]:
    """Pauses or resumes the targets with these labels; returns a sentence for each. Workers hear of it within
    PAUSE_AGE, and finish what they are delivering.
    """
    told = []
    for name in labels:
        state, _created = ModelState.objects.using(using).get_or_create(model=name)
        changed = ModelState.objects.using(using).filter(model=name, paused=not paused).update(paused=paused)
        told.append(_paused(changed=bool(changed), paused=paused) % state.model)
    PAUSED.forget()
    return told


def _paused(*, changed: bool, paused: bool) -> str:
    if changed:
        return _("Delivery of %s is paused.") if paused else _("Delivery of %s is resumed.")
    return _("Delivery of %s is already paused.") if paused else _("Delivery of %s is not paused.")


def told(act: str, outcome: Acted) -> list[str]:
    """What was done, then what was skipped and why: a sentence each."""
    sentences = [DONE[act](outcome.done) % f"{outcome.done:,}"]
    if outcome.in_flight:
        sentences.append(_("%s skipped: in flight.") % f"{outcome.in_flight:,}")
    if outcome.skipped:
        sentences.append(_("%s skipped: already delivered or not failed.") % f"{outcome.skipped:,}")
    return sentences
