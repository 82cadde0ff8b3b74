"""Pulling: the rows of a pulled model as a target to follow a collection. sync/following.py has the protocol."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import bson
from django.db import DatabaseError, DataError, IntegrityError, OperationalError, connections, models, transaction
from django.db.models import Q

from sync import conf
from sync.capture import chunks
from sync.clock import DatabaseNow
from sync.feed import BATCH, Documents, Key, from_key, in_words, to_key
from sync.fields import DocumentField, ExtendedJSONEncoder, new_object_id
from sync.following import LeaseLost, Position
from sync.mapping import codec, mirrored_fields
from sync.models import ParkedDocument, PullState
from sync.mongo import CODEC_OPTIONS
from sync.pulled import PulledModel
from sync.registry import all_rows, label

logger = logging.getLogger(__name__)

LARGE = 1_000_000  # bytes of a document, from which on its row may be too large for a statement


class Rows:
    """The rows of one pulled model. Holds a lease from `lease` to `release`, which every write extends."""

    def __init__(self, model: type[PulledModel], using: str) -> None:
        self.model = model
        self.using = using
        self.label = label(model)
        self.name = f"the table {model._meta.db_table}"
        self.owner = new_object_id()
        assert model._meta.pk is not None
        self.pk = model._meta.pk
        self.pk_codec: Any = codec(self.pk)
        self.fields: list[models.Field] = [
            field for field in model._meta.local_concrete_fields if not getattr(field, "generated", False)
        ]
        self.has_other_unique = _has_other_unique(model)
        self.comparable = [_comparable(field) for field in self.fields]

    # --- lease and position ------------------------------------------------------------------------------------------

    def lease(self) -> PullState | None:
        """Takes the lease; None if it is ours now, else the state with its holder."""
        states = PullState.objects.using(self.using)
        states.get_or_create(model=self.label)
        free = Q(owner="") | Q(owner=self.owner) | Q(leased_until__lt=DatabaseNow())
        name = f"process {os.getpid()} on {socket.gethostname()[:80]}"
        if states.filter(free, model=self.label).update(owner=self.owner, owner_name=name, leased_until=_lease_end()):
            return None
        return states.get(model=self.label)

    def release(self) -> None:
        """Gives the lease back, if it is still ours."""
        self._mine().update(owner="", owner_name="", leased_until=DatabaseNow())

    def forget(self) -> None:
        """All is to be compared again."""
        self._mine().update(token=None, phase="documents", after=None, dropped=False)

    def _mine(self) -> Any:
        return PullState.objects.using(self.using).filter(model=self.label, owner=self.owner)

    def position(self) -> Position:
        state = self._mine().first()
        if state is None:
            raise self._lost()
        if state.mapping != (mapping := fingerprint(self.model)):
            # The rows were made by another mapping: a new field has its default in all of them.
            self._mine().update(mapping=mapping, token=None, phase="documents", after=None)
            return Position(dropped=state.dropped)
        return Position(state.phase, state.token, bytes(state.after) if state.after else None, state.dropped)

    def _keep(self, position: Position) -> None:
        """In the transaction of the rows: locks the state, so that whoever takes the lease now waits for the commit."""
        values: dict[str, Any] = {"equal_at": DatabaseNow()} if position.phase == "following" else {}
        kept = self._mine().update(
            phase=position.phase, token=position.token, after=position.after, dropped=position.dropped,
            leased_until=_lease_end(), **values,
        )  # fmt: skip
        if not kept:
            raise self._lost()

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"{self.label}: another puller has taken over, because this one was silent for too long.")

    # --- writing -----------------------------------------------------------------------------------------------------

    def write(self, documents: Documents, position: Position) -> int:
        rows, gone, reasons = self._read(documents)
        with transaction.atomic(self.using):
            self._keep(position)
            if not documents:
                return 0
            written = self._each(gone, self._delete, lambda pk: self._key(pk), reasons) if gone else 0
            changed, new = self._different(rows)
            if changed:
                written += self._each(changed, self._update, lambda row: self._key(row.pk), reasons)
            if new:
                written += self._each(new, self._insert, lambda row: self._key(row.pk), reasons)
            written += self._exchange([*changed, *new], reasons)
            self._park(documents, reasons)
        return written

    def _read(self, documents: Documents) -> tuple[dict[Any, models.Model], list[Any], dict[Key, str]]:
        """The rows by primary key, the primary keys of rows to delete, and why a document has no row."""
        rows: dict[Any, models.Model] = {}
        gone: list[Any] = []
        reasons: dict[Key, str] = {}
        # Never the truth of a raw document: that would decode it.
        large = any(raw is not None and len(raw.raw) > LARGE for raw in documents.values())
        limit = self._largest_statement() if large else None
        for key, raw in documents.items():
            try:
                if raw is None:
                    gone += self._pk_or_none(key)
                    continue
                row = self.model.from_document(bson.decode(raw.raw, CODEC_OPTIONS))
                if limit and len(raw.raw) > LARGE:
                    self._require_fit(row, limit)
                rows[row.pk] = row
            except Exception as error:  # an own from_document may raise anything, and the others go on
                reasons[key] = str(error) or repr(error)
        return rows, gone, reasons

    def _pk_or_none(self, key: Key) -> list[Any]:
        """The primary key for a document's; [] if no row can have it."""
        try:
            return [self.pk_codec.from_bson(from_key(key))]
        except Exception:
            return []

    def _key(self, pk: Any) -> Key:
        return to_key(self.pk_codec.to_bson(pk))

    def _largest_statement(self) -> int | None:
        connection: Any = connections[self.using]
        if connection.vendor != "mysql":
            return None
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            return cursor.fetchone()[0]

    def _require_fit(self, row: models.Model, limit: int) -> None:
        """MySQL closes the connection on a statement that is too large, so it must not get there."""
        connection: Any = connections[self.using]
        connection.ensure_connection()
        size = sum(
            len(connection.connection.literal(field.get_db_prep_save(getattr(row, field.attname), connection)))
            for field in self.fields
        )
        if size + 10_000 > limit:
            raise ValueError(f"the row takes a statement of {size:,} bytes; max_allowed_packet is {limit:,}")

    def _different(self, rows: dict[Any, models.Model]) -> tuple[list[models.Model], list[models.Model]]:
        """Rows that are not as in the table, and rows that are not there."""
        names = [field.attname for field in self.fields]
        there = {}
        for part in chunks(list(rows)):
            for values in all_rows(self.model, self.using).filter(pk__in=part).values_list(*names):
                there[values[names.index(self.pk.attname)]] = values
        changed, new = [], []
        for pk, row in rows.items():
            if pk not in there:
                new.append(row)
            elif any(
                compare(getattr(row, name)) != compare(value)
                for name, value, compare in zip(names, there[pk], self.comparable, strict=True)
            ):
                changed.append(row)
        return changed, new

    def _each(
        self, items: list[Any], act: Callable[[list[Any]], None], key: Callable[[Any], Key], reasons: dict[Key, str]
    ) -> int:
        """Acts on all at once, or, if the database refuses that, on each by itself; how many it took."""
        try:
            with transaction.atomic(self.using):
                act(items)
            return len(items)
        except DatabaseError as error:
            if not _is_refusal(error):
                raise
            if len(items) == 1:
                reasons[key(items[0])] = f"the database refuses it: {error.args[-1]}"
                return 0
        half = len(items) // 2
        return self._each(items[:half], act, key, reasons) + self._each(items[half:], act, key, reasons)

    def _exchange(self, rows: list[Any], reasons: dict[Key, str]) -> int:
        """Rows that exchange unique values: none can be first, so they are deleted together and inserted together."""
        refused = [row for row in rows if self._key(row.pk) in reasons]
        if len(refused) < 2 or not self.has_other_unique:
            return 0
        try:
            with transaction.atomic(self.using):
                self._delete([row.pk for row in refused])
                self._insert(refused)
        except DatabaseError as error:
            if not _is_refusal(error):
                raise
            return 0
        for row in refused:
            del reasons[self._key(row.pk)]
        return len(refused)

    def _delete(self, pks: list[Any]) -> None:
        all_rows(self.model, self.using).filter(pk__in=pks)._raw_delete(self.using)

    def _insert(self, rows: list[models.Model]) -> None:
        all_rows(self.model, self.using).bulk_create(rows)

    def _update(self, rows: list[models.Model]) -> None:
        others = [field for field in self.fields if not field.primary_key]
        if not others:
            return
        if self.has_other_unique:
            # On MySQL an upsert would change whichever row has the same unique value.
            for row in rows:
                values = {field.attname: getattr(row, field.attname) for field in others}
                all_rows(self.model, self.using).filter(pk=row.pk).update(**values)
        else:
            unique = [self.pk.name] if connections[self.using].features.supports_update_conflicts_with_target else None
            names = [field.name for field in others]
            all_rows(self.model, self.using).bulk_create(
                rows, update_conflicts=True, update_fields=names, unique_fields=unique
            )

    # --- what the model cannot hold ----------------------------------------------------------------------------------

    def _park(self, documents: Documents, reasons: dict[Key, str]) -> None:
        parked = ParkedDocument.objects.using(self.using)
        known = {row.pk: row for part in chunks([self._parked_id(key) for key in documents])
                 for row in parked.filter(pk__in=part)}  # fmt: skip
        fits = known.keys() - {self._parked_id(key) for key in reasons}
        if fits:
            parked.filter(pk__in=fits).delete()
        for key, reason in reasons.items():
            values = {"reason": reason[:2000], "tried_at": DatabaseNow()}
            if self._parked_id(key) in known:
                parked.filter(pk=self._parked_id(key)).update(**values)
                continue
            parked.create(pk=self._parked_id(key), model=self.label, key=in_words(key), document_key=key, **values)
            logger.warning("%s %s is parked: %s", self.label, in_words(key), reason[:200])

    def _parked_id(self, key: Key) -> str:
        return hashlib.sha256(self.label.encode() + b"\0" + key).hexdigest()

    def put_aside(self) -> list[Key]:
        parked = ParkedDocument.objects.using(self.using).filter(model=self.label).order_by("tried_at")
        return [bytes(key) for key in parked.values_list("document_key", flat=True)[:BATCH]]

    def keys(self) -> Iterator[Key]:
        rows = all_rows(self.model, self.using).order_by("pk").values_list("pk", flat=True)
        last: Any = None
        while part := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
            yield from (self._key(pk) for pk in part)
            last = part[-1]
        parked = ParkedDocument.objects.using(self.using).filter(model=self.label).order_by("pk")
        last = ""
        while found := list(parked.filter(pk__gt=last).values_list("pk", "document_key")[:BATCH]):
            yield from (bytes(key) for _, key in found)
            last = found[-1][0]


# What MySQL and MariaDB call OperationalError although no row is to blame: the server is away, or will not have it now.
# Too many connections, denied, shutdown, no such column, disk or table full, denied, lost, locked, deadlock, read-only.
NOBODYS_FAULT = {1021, 1040, 1044, 1045, 1053, 1054, 1114, 1142, 1205, 1213, 1290, 1792, 1836, 1927}


def _is_refusal(error: DatabaseError) -> bool:
    """Whether the database would take the other rows of the batch, without this one."""
    if isinstance(error, (DataError, IntegrityError)):
        return True
    code = error.args[0] if error.args else None
    return isinstance(error, OperationalError) and isinstance(code, int) and code < 2000 and code not in NOBODYS_FAULT


def fingerprint(model: type[PulledModel]) -> str:
    """What decides which row a document becomes, in 64 hex digits: fields, their classes and sizes, and the source."""
    fields = [(name, *_definition(field)) for name, field in mirrored_fields(model)]
    return hashlib.sha256(repr((fields, model.source)).encode()).hexdigest()


def _definition(field: models.Field) -> tuple[Any, ...]:
    return type(field).__module__, type(field).__qualname__, field.max_length, field.null


def _lease_end() -> Any:
    return DatabaseNow() + timedelta(seconds=conf.LEASE)


def _comparable(field: models.Field) -> Callable[[Any], Any]:
    """Turns a field's value into what is equal only for equal values: for BSON, type by type and in order."""
    if isinstance(field, DocumentField):
        return lambda value: json.dumps(value, cls=ExtendedJSONEncoder)
    if isinstance(field, models.BinaryField):
        return lambda value: value and bytes(value)
    return lambda value: value


def _has_other_unique(model: type[models.Model]) -> bool:
    options = model._meta
    return bool(
        options.total_unique_constraints
        or options.unique_together
        or any(field.unique and not field.primary_key for field in options.concrete_fields)
    )
