"""Writes rows through the models, so that the mirror captures them, and only new or changed rows."""

from collections.abc import Sequence
from typing import NamedTuple

from django.db import DatabaseError, connections, router, transaction

from finance.decoding import fingerprint
from sync.models import MirroredModel

CREATED, UPDATED, UNCHANGED, REJECTED = "created", "updated", "unchanged", "rejected"


class Outcome(NamedTuple):
    """The outcome of one row: created, updated, unchanged or rejected, then with the database's reason."""

    kind: str
    reason: str = ""


def upsert(rows: Sequence[MirroredModel]) -> list[Outcome]:
    """Inserts or updates these rows, of one model and each with its own key; returns an outcome for each.

    Columns that are not part of the document, such as a customer's user, are not changed. A row that the database
    rejects affects no other. Raises OperationalError if the database is unreachable.
    """
    try:
        return _upsert(rows)
    except (DatabaseError, ValueError, OverflowError) as error:
        # A statement that is too long for MySQL ends the connection, just as a server does that shuts down.
        connection = connections[router.db_for_write(type(rows[0]))]
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
            connection.ensure_connection()
        if len(rows) == 1:
            return [Outcome(REJECTED, f"the database rejects it: {error}")]
    half = len(rows) // 2
    return upsert(rows[:half]) + upsert(rows[half:])


def _upsert(rows: Sequence[MirroredModel]) -> list[Outcome]:
    model = type(rows[0])
    outcomes: list[Outcome] = []
    new, changed = [], []
    with transaction.atomic(router.db_for_write(model)):
        existing = model.objects.in_bulk([row.pk for row in rows])
        for row in rows:
            if row.pk not in existing:
                new.append(row)
                outcomes.append(Outcome(CREATED))
            elif fingerprint(row) != fingerprint(existing[row.pk]):
                changed.append(row)
                outcomes.append(Outcome(UPDATED))
            else:
                outcomes.append(Outcome(UNCHANGED))
        model.objects.bulk_create(new)
        kept = {"id", *model.mirror.exclude}
        fields = [field.name for field in model._meta.concrete_fields if field.name not in kept]
        model.objects.bulk_update(changed, fields, batch_size=100)
    return outcomes
