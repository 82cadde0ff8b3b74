"""Fan-outs: delivers every document that embeds a row, after the row has changed.

A fan-out is one change, however many documents it concerns, so it costs the writer the same. Relays deliver a page of
documents at a time, in order of their keys, after all changes of single keys. The change remembers the last key, so a
fan-out continues after a crash. Small ones of the same embed are delivered together, each document once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS

from sync.mapping.embeds import nodes
from sync.mapping.reading import literal
from sync.mapping.registry import Target, all_rows, find_target
from sync.outbox.models import Change, ChangeQuerySet, Taken

PAGE = 200  # documents: single changes wait no longer than these take
TOGETHER = 100  # fan-outs that are delivered together, at most
COUNTED = 10_000  # documents left of a fan-out, at most


class Page(NamedTuple):
    """The next documents of some fan-outs of one embed. is_last: whether no more documents follow."""

    changes: list[Taken]
    documents: list[Any]
    is_last: bool


class Progress(NamedTuple):
    """via: where the row is embedded. row: its key. left: documents not delivered yet; COUNTED + 1 for any more."""

    via: str
    row: str
    left: int


def claim(change: Taken, due: ChangeQuerySet, token: str) -> list[Taken]:
    """This fan-out, which is claimed, and if it has not begun, others of the same embed that are claimed here.

    Those that have not begun absorb others of the same rows. One that has begun must not: they concern the documents
    behind it, too. What is absorbed may concern more documents, so they are looked up later.
    """
    if change.key:
        return [change]
    _absorb([change], due.db)
    others = due.filter(model=change.model, via=change.via, key="").claim(TOGETHER - 1, token)
    _absorb(others, due.db)
    return [change, *others]


def _absorb(changes: list[Taken], using: str) -> None:
    if changes:
        first, rows = changes[0], {change.until for change in changes}
        same = Change.objects.using(using).filter(model=first.model, via=first.via, until__in=rows, key="", claim="")
        for part in same.parts():
            part.delete()


def page(target: Target, changes: list[Taken], using: str) -> Page:
    """The next documents of the first of these claimed fan-outs, or all documents of several small ones.

    Raises LookupError if nothing is embedded there any more.
    """
    while len(changes) > 1:
        keys = _documents(target, changes, using).distinct()[: PAGE + 1]
        if len(keys) <= PAGE:
            return Page(changes, list(keys), is_last=True)
        changes = changes[: len(changes) // 2]
    keys = keys_of(target, changes[0], using)[:PAGE]
    return Page(changes, list(keys), is_last=len(keys) < PAGE)


def keys_of(target: Target, change: Taken | Change, using: str) -> Any:
    """A queryset: the keys of all documents that the fan-out still concerns, in order."""
    rows = _documents(target, [change], using)
    if change.key:
        rows = rows.filter(pk__gt=literal(target.model._meta.pk, change.key))
    return rows.order_by("pk").distinct()


def _documents(target: Target, changes: Sequence[Taken | Change], using: str) -> Any:
    """A queryset: the keys of the documents that embed the rows of these fan-outs, which are of one embed."""
    via = changes[0].via
    node = next((node for node in nodes(target) if node.path == via), None)
    if node is None:
        raise LookupError(f"{target.label} embeds nothing at {via}")
    rows = {literal(node.model._meta.pk, change.until) for change in changes}
    return all_rows(target.model, using).filter(**{f"{node.query}__in": rows}).order_by().values_list("pk", flat=True)


def of_document(target: Target, key: str, number: int, using: str = DEFAULT_DB_ALIAS) -> list[Change]:
    """Those of a target's oldest fan-outs that have yet to deliver the document with this key."""
    pk = literal(target.model._meta.pk, key)
    found = []
    for change in _fan_outs(target.label, using)[:number]:
        with suppress(LookupError):
            if keys_of(target, change, using).filter(pk=pk).exists():
                found.append(change)
    return found


def oldest(label: str, number: int, using: str = DEFAULT_DB_ALIAS) -> Iterator[Progress]:
    """Yields the progress of a target's oldest fan-outs. Skips those of embeds that no longer exist."""
    for change in _fan_outs(label, using)[:number]:
        with suppress(LookupError):
            left = keys_of(find_target(label), change, using)[: COUNTED + 1].count()
            yield Progress(change.via, change.until, left)


def _fan_outs(label: str, using: str) -> Any:
    return Change.objects.using(using).filter(model=label).exclude(via="").order_by("recorded_at")
