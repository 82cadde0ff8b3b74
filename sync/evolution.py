"""Schema changes: a model whose mapping is another than that of its documents is backfilled by itself."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import Any

from django.db import DEFAULT_DB_ALIAS, transaction

from sync import backfill
from sync.mapping import mirrored_fields
from sync.models import ModelState
from sync.registry import Target, all_targets

logger = logging.getLogger(__name__)


def fingerprint(target: Target) -> str:
    """What decides the shape of its documents, in 64 hex digits: fields, their classes, and Mirror's options."""
    fields = [(name, type(field).__module__, type(field).__qualname__) for name, field in mirrored_fields(target.model)]
    mirror = replace(target.model.mirror, targets=(target.name,))
    return hashlib.sha256(repr((fields, mirror)).encode()).hexdigest()


def plan_for_changed_mappings(using: str = DEFAULT_DB_ALIAS, **_: Any) -> list[str]:
    """Plans a backfill for each target whose mapping has changed since its last one, or that is new; their labels.

    A `post_migrate` receiver: whoever adds, renames or drops a field migrates.
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
            logger.info("%s: the mapping has changed, %d rows will be delivered again.", target.label, rows)
            planned.append(target.label)
    return planned
