"""Schema changes: a model whose mapping has changed since its documents were written is backfilled automatically."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import replace
from typing import Any

from django.db import DEFAULT_DB_ALIAS, transaction

from sync.core.humanize import counted
from sync.mapping.documents import mirrored_fields
from sync.mapping.embeds import fields as embedded_fields
from sync.mapping.embeds import nodes
from sync.mapping.fields import class_name
from sync.mapping.reading import literal
from sync.mapping.registry import Target, all_rows, all_targets
from sync.outbox import backfill
from sync.outbox.mirrored import MirroredModel
from sync.workers.models import ModelState

logger = logging.getLogger(__name__)

CHUNK = 1000  # rows read at a time


def fingerprint(target: Target) -> str:
    """What decides the shape of its documents, in 64 hex digits: fields, their classes, and Mirror's options."""
    fields = [(name, *class_name(field)) for name, field in mirrored_fields(target.model)]
    mirror = replace(target.model.mirror, targets=(target.name,))
    below = [(node.path, node.embed, [class_name(each) for each in embedded_fields(node)]) for node in nodes(target)]
    return hashlib.sha256(repr((fields, mirror, below) if below else (fields, mirror)).encode()).hexdigest()


def is_changed(target: Target, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Whether its documents were written with another mapping than the current one, as far as they were written."""
    state = ModelState.objects.using(using).filter(model=target.label).exclude(mapping="").first()
    return state is not None and state.mapping != fingerprint(target)


def clashes(model: type[MirroredModel], using: str = DEFAULT_DB_ALIAS) -> dict[str, int]:
    """By field name, how many rows hold a value of that name in `extra`, too. Reads the whole table."""
    extra = model.mirror.extra
    if not extra:
        return {}
    names = {name for name, _ in mirrored_fields(model)}
    found: Counter[str] = Counter()
    column: Any = model._meta.get_field(extra)
    rows = all_rows(model, using).exclude(**{f"{extra}__isnull": True})
    last: Any = None
    values = rows.order_by("pk").values_list("pk", column.attname)
    while chunk := list((values if last is None else values.filter(pk__gt=literal(model._meta.pk, last)))[:CHUNK]):
        for _, document in chunk:
            if isinstance(document, dict):
                found.update(name for name in names & document.keys() if document[name] is not None)
        last = chunk[-1][0]
    return dict(found)


def plan_for_changed_mappings(using: str = DEFAULT_DB_ALIAS, **_: Any) -> list[str]:
    """Plans a backfill for each new target and each target whose mapping has changed; returns their labels.

    A `post_migrate` receiver, because adding, renaming or dropping a field requires a migration.
    """
    planned = []
    for target in all_targets():
        with transaction.atomic(using):
            states = ModelState.objects.using(using).select_for_update()
            state, _created = states.get_or_create(model=target.label)
            if state.mapping == (mapping := fingerprint(target)):
                continue
            rows = backfill.plan(target, using)
            state.mapping = mapping
            state.save(update_fields=["mapping"])
        if rows:
            again = counted(rows, "row will be delivered", "rows will be delivered")
            logger.info("%s: the mapping has changed, %s again.", target.label, again)
            planned.append(target.label)
    return planned
