"""Fan-outs: delivers every document that embeds a row, after the row has changed.

A fan-out is one change, however many documents it concerns, so it costs the writer the same. Relays deliver a page of
documents at a time, in order of their keys, after all changes of single keys. The change remembers the last key, so a
fan-out continues after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS

from sync.mapping.embeds import nodes
from sync.mapping.reading import literal
from sync.mapping.registry import Target, all_rows, find_target
from sync.outbox.models import Change, Taken

PAGE = 200  # documents: single changes wait no longer than these take
COUNTED = 10_000  # documents left of a fan-out, at most


class Progress(NamedTuple):
    """via: where the row is embedded. row: its key. left: documents not delivered yet; COUNTED + 1 for any more."""

    via: str
    row: str
    left: int


def page(target: Target, change: Taken, using: str) -> Iterator[list[Any]]:
    """Yields the keys of the next documents, once, or nothing if there are no more.

    A fan-out that has not begun absorbs others of the same row. One that has begun must not: they concern the documents
    behind it, too. Raises LookupError if nothing is embedded there any more.
    """
    if not change.key:
        same = Change.objects.using(using).filter(model=change.model, via=change.via, until=change.until, key="")
        for part in same.filter(claim="").exclude(pk=change.pk).parts():
            part.delete()
    if keys := list(keys_of(target, change, using)[:PAGE]):
        yield keys


def keys_of(target: Target, change: Taken | Change, using: str) -> Any:
    """A queryset: the keys of all documents that the fan-out still concerns, in order."""
    node = next((node for node in nodes(target) if node.path == change.via), None)
    if node is None:
        raise LookupError(f"{target.label} embeds nothing at {change.via}")
    rows = all_rows(target.model, using).filter(**{f"{node.query}": literal(node.model._meta.pk, change.until)})
    if change.key:
        rows = rows.filter(pk__gt=literal(target.model._meta.pk, change.key))
    return rows.order_by("pk").values_list("pk", flat=True).distinct()


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
