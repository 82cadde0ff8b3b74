"""What is stored of verify's runs: each run, and each mismatch while it lasts, with the time it was first seen."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection
from datetime import datetime

from django.db import DatabaseError, connections
from django.db.models import QuerySet

from sync.core.batching import chunks
from sync.core.clock import DatabaseNow
from sync.verification.models import Mismatch, Verification
from sync.verification.scan import KeyMismatch, Scan

logger = logging.getLogger(__name__)

RUNS_KEPT = 1000  # of each model and mode
PLAIN = re.compile(r"[a-z0-9_-]{1,255}")


def begin(scan: Scan, mode: str, resume: bool) -> Verification:
    """A new run; or, to resume, the last one if it is full and was interrupted."""
    runs = Verification.objects.using(scan.using).filter(model=scan.label, mode=mode)
    last = runs.order_by("-id").first() if resume else None
    if last and last.finished_at is None:
        last.error = ""
        last.save(update_fields=["error"])
        return last
    run = runs.create(model=scan.label, mode=mode)
    run.refresh_from_db(scan.using)  # the database has set started_at; no router may choose a replica
    return run


def end(run: Verification) -> Verification:
    """Finishes the run. A run that is not sampled has seen every key, so keys that it did not report are in sync."""
    if run.mode != "sampled":
        _known(run).filter(last_seen__lt=run.started_at).delete()
    run.finished_at = DatabaseNow()  # type: ignore[assignment]  # an expression
    run.save()
    run.refresh_from_db(run._state.db)
    runs = Verification.objects.using(run._state.db).filter(model=run.model, mode=run.mode)
    if too_old := runs.order_by("-id").values_list("id", flat=True)[RUNS_KEPT : RUNS_KEPT + 1].first():
        runs.filter(id__lte=too_old).delete()
    return run


def interrupt(run: Verification, why: str) -> None:
    """Records why a run ended before it was finished: what it did not reach is not verified."""
    try:
        Verification.objects.using(run._state.db).filter(pk=run.pk).update(error=why[:2000])
    except DatabaseError:
        logger.warning("Could not record that the verification of %s was interrupted: %s", run.model, why)


def keep(run: Verification, found: Collection[KeyMismatch]) -> None:
    """Stores mismatches; known ones keep the time they were first seen."""
    alias = run._state.db
    rows = [
        Mismatch(
            model=run.model,
            key=_stored(mismatch.key),
            kind=mismatch.kind,
            fields=[field.as_data() for field in mismatch.fields],
            last_seen=DatabaseNow(),
        )
        for mismatch in found
    ]
    targets = connections[alias or ""].features.supports_update_conflicts_with_target
    Mismatch.objects.using(alias).bulk_create(
        rows,
        batch_size=100,
        update_conflicts=True,
        update_fields=["kind", "fields", "last_seen"],
        unique_fields=["model", "key"] if targets else None,
    )


def known_at(scan: Scan, moment: datetime, keys: Collection[str]) -> set[str]:
    """Those of `keys` whose mismatches were stored by then."""
    stored = {_stored(key): key for key in keys}
    rows = Mismatch.objects.using(scan.using).filter(model=scan.label, first_seen__lte=moment)
    found: set[str] = set()
    for some in chunks(list(stored)):
        found.update(stored[key] for key in rows.filter(key__in=some).values_list("key", flat=True))
    return found


def forget(run: Verification, keys: Collection[str]) -> None:
    """Removes the mismatches of keys that are in sync now."""
    for some in chunks([_stored(key) for key in keys]):
        _known(run).filter(key__in=some).delete()


def forget_unseen(run: Verification, keys: Collection[str]) -> None:
    """Removes the mismatches of keys that this run has compared and not found different."""
    for some in chunks([_stored(key) for key in keys]):
        _known(run).filter(key__in=some, last_seen__lt=run.started_at).delete()


def _known(run: Verification) -> QuerySet[Mismatch]:
    return Mismatch.objects.using(run._state.db).filter(model=run.model)


def _stored(key: str) -> str:
    """The key as it is stored: a database's collation may treat "a", "A" and "a " as the same, so a digest is added."""
    if PLAIN.fullmatch(key):
        return key
    return f"{key[:200]} [{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}]"
