"""Classes of reasons why rows cannot be delivered."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Case, CharField, Count, Q, Value, When
from django.utils.translation import gettext_noop

from sync.core.compiled import Statement
from sync.outbox.models import Change, ChangeQuerySet

# The first match counts. mongo_writer.py and delivery.py word the reasons; a test compares both.
CLASSES = (
    (
        gettext_noop("target is gone"),
        Q(error__startswith="the target ") | Q(error__startswith="there is no target"),  # the latter before 0.9
    ),
    (gettext_noop("too large"), Q(error__startswith="the document has ", error__contains=" bytes; MongoDB holds ")),
    (gettext_noop("rejected by MongoDB"), Q(error__startswith="MongoDB")),
)
OTHER = gettext_noop("cannot be mapped")


@dataclass
class Failures:
    """Rows of one model with one class of reason. A row can have several changes."""

    reason: str
    failed: int  # rows with a dead letter: no retry until an operator requests it
    retrying: int  # rows with a change that failed so far, and is retried automatically
    changes: int  # of both


def troubled(using: str) -> ChangeQuerySet:
    """Changes that failed at least once, each with the name of its class as `reason`."""
    reason = Case(*(When(q, Value(name)) for name, q in CLASSES), default=Value(OTHER), output_field=CharField())
    return Change.objects.using(using).filter(Q(failed=True) | ~Q(error="")).annotate(reason=reason)


@functools.cache
def _failures(using: str) -> Statement:
    return Statement.select(
        troubled(using)
        .values("model", "reason")
        .annotate(
            dead=Count("key", filter=Q(failed=True), distinct=True),
            tried=Count("key", filter=Q(failed=False), distinct=True),
            changes=Count("id"),
        )
        .order_by("-dead", "-tried", "reason")
    )


def failures(using: str) -> dict[str, list[Failures]]:
    """By model, the most frequent class first. One query."""
    found = defaultdict(list)
    for model, *values in _failures(using).fetch():
        found[model].append(Failures(*values))
    return found
