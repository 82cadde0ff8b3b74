"""The table of a pulled model as a target. sync/replication/replicator.py describes the protocol."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import bson
from django.db import DatabaseError, DataError, IntegrityError, OperationalError, connections, models, transaction
from django.db.models import ExpressionWrapper, F
from django.db.models.constants import OnConflict
from django.db.models.expressions import DatabaseDefault
from django.db.models.sql import InsertQuery

from sync.core import mysql
from sync.core.batching import bisect, chunks
from sync.core.clock import DatabaseNow
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.documents import MappingError, codec, mirrored_fields
from sync.mapping.fields import DocumentField, class_name
from sync.mapping.reading import literal
from sync.mapping.registry import all_rows, label
from sync.mapping.unreadable import Unreadable
from sync.mongodb.change_stream import BATCH, DEFAULT, Documents, Key, from_key, in_words, to_key
from sync.replication.models import DeadLetter
from sync.replication.pulled import PulledModel
from sync.replication.replicator import ReplicationState
from sync.workers.checkpoint import TableCheckpoint
from sync.workers.routes import Route

logger = logging.getLogger(__name__)

LARGE = 1_000_000  # bytes: the row of a larger document may exceed max_allowed_packet


class TableSink:
    """The table of one pulled model as a target. Every write requires the lease of its checkpoint, and extends it."""

    most = DEFAULT  # more would not fit into one statement

    def __init__(self, model: type[PulledModel], using: str) -> None:
        self.model = model
        self.using = using
        self.label = label(model)
        self.name = f"the table {model._meta.db_table}"
        self.mapping = fingerprint(model)
        self.checkpoint = TableCheckpoint(Route.PULL.of(self.label), self.name, using)
        assert model._meta.pk is not None
        self.pk = model._meta.pk
        self.pk_codec: Any = codec(self.pk)
        self.fields = _fields(model)
        self.has_dead_letters = True
        self.has_other_unique = _has_other_unique(model)
        self.kinds = [(field, isinstance(field, DocumentField)) for field in self.fields]
        # Documents are compared as text, without the fields' converters, which would hide a difference of types.
        self.columns = [
            ExpressionWrapper(F(field.attname), models.TextField()) if is_text else F(field.attname)
            for field, is_text in self.kinds
        ]

    # --- position ----------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Forgets the position, so that the next pass compares every document."""
        self.checkpoint.save({})

    def position(self) -> ReplicationState:
        state = self.checkpoint.load()
        self.has_dead_letters = self._dead_letters().exists()
        if state.get("mapping") == self.mapping:
            return ReplicationState.from_state(state)
        # The mapping has changed since the rows were written: a new field has its default in all rows.
        return ReplicationState(dropped=state.get("dropped", False))

    def _keep(self, position: ReplicationState) -> None:
        """Saves the position. Call it first in the transaction that writes the rows."""
        state = {**position.as_state(), "mapping": self.mapping}
        self.checkpoint.save(state, in_sync=position.phase == "streaming")

    # --- writing -----------------------------------------------------------------------------------------------------

    def write(self, batch: _Batch, position: ReplicationState) -> int:
        with transaction.atomic(self.using):
            self._keep(position)
            if not batch.documents:
                return 0
            reasons, written = batch.reasons, 0
            if batch.large:
                self._refuse_larger_than_a_statement(batch)
            if batch.gone:
                written += self._each(batch.gone, self._delete, lambda pk: self._key(pk), reasons)
            changed, new = self._different(batch.rows)
            if changed:
                written += self._each(changed, self._update, lambda row: self._key(row.pk), reasons)
            if new:
                written += self._each(new, self._insert, lambda row: self._key(row.pk), reasons)
            written += self._exchange([*changed, *new], reasons)
            self._keep_dead_letters(batch.documents, reasons)
        return written

    def prepare(self, documents: Documents) -> _Batch:
        batch = _Batch(documents)
        for key, raw in documents.items():
            try:
                if raw is None:
                    batch.gone += self._pk_or_none(key)
                    continue
                row = self._row(self.model.from_document(_decode(raw.raw)))
                batch.rows[row.pk] = row
                if len(raw.raw) > LARGE:
                    batch.large.append(row)
            except Exception as error:  # an application's from_document may raise anything; pull the other documents
                batch.reasons[key] = str(error) or repr(error)
        return batch

    def _row(self, instance: models.Model) -> _Row:
        """Prepares the values of a row. Raises MappingError if a value does not fit its column."""
        connection = connections[self.using]
        values, stored = [], []
        for field, is_text in self.kinds:
            value = field.pre_save(instance, True)
            if type(value) is DatabaseDefault:
                value = _constant(field, value)
            try:
                prepared = field.get_db_prep_save(value, connection)
            except (ValueError, TypeError, ArithmeticError) as error:
                raise MappingError(f"{field.name}: {error}") from error
            values.append(prepared)
            stored.append(prepared if is_text else value)
        return _Row(instance.pk, values, stored)

    def _pk_or_none(self, key: Key) -> list[Any]:
        """Returns the primary key for a document's key; [] if no row can have it."""
        try:
            return [self.pk_codec.from_bson(from_key(key))]
        except Exception:
            return []

    def _key(self, pk: Any) -> Key:
        return to_key(self.pk_codec.to_bson(pk))

    def _refuse_larger_than_a_statement(self, batch: _Batch) -> None:
        """Turns rows that exceed max_allowed_packet into dead letters: MySQL would close the connection."""
        connection: Any = connections[self.using]
        if connection.vendor != "mysql":
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            [limit] = cursor.fetchone()
        for row in batch.large:
            size = sum(len(connection.connection.literal(value)) for value in row.values)
            if size + 10_000 > limit:
                del batch.rows[row.pk]
                batch.reasons[self._key(row.pk)] = (
                    f"the row needs a statement of {size:,} bytes; max_allowed_packet is {limit:,}"
                )

    def _different(self, rows: dict[Any, _Row]) -> tuple[list[_Row], list[_Row]]:
        """Returns the rows that differ from the table, and the rows that the table does not have."""
        place = self.fields.index(self.pk)
        there: dict[Any, tuple[Any, ...]] = {}
        for part in chunks(list(rows)):
            found = all_rows(self.model, self.using).filter(pk__in=part).values_list(*self.columns)
            there |= {values[place]: values for values in found}
        changed, new = [], []
        for pk, row in rows.items():
            if pk not in there:
                new.append(row)
            elif any(mine != theirs for mine, theirs in zip(row.stored, there[pk], strict=True)):
                changed.append(row)
        return changed, new

    def _each(
        self, items: list[Any], act: Callable[[list[Any]], None], key: Callable[[Any], Key], reasons: dict[Key, str]
    ) -> int:
        """Calls `act` for all items, or bisects if the database rejects some. Returns the number accepted."""

        def take(some: Sequence[Any]) -> int:
            with transaction.atomic(self.using):
                act(list(some))
            return len(some)

        def refuse(item: Any, error: Exception) -> None:
            reasons[key(item)] = f"the database rejects it: {error.args[-1]}"

        return sum(bisect(items, take, refuse, _is_refusal))

    def _exchange(self, rows: list[Any], reasons: dict[Key, str]) -> int:
        """Writes rows that swap unique values. None of them can be written first: delete all, then insert all."""
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

    def _insert(self, rows: list[_Row]) -> None:
        self._write_rows(rows, *_insert_sql(self.model, self.using))

    def _update(self, rows: list[_Row]) -> None:
        if len(self.fields) == 1:
            return
        if not self.has_other_unique:
            self._write_rows(rows, *_upsert_sql(self.model, self.using))
            return
        # On MySQL an upsert would also update another row that has the same unique value.
        place, sql = self.fields.index(self.pk), _update_sql(self.model, self.using)
        with connections[self.using].cursor() as cursor:
            for row in rows:
                cursor.execute(sql, [*row.values[:place], *row.values[place + 1 :], row.values[place]])

    def _write_rows(self, rows: list[_Row], insert: str, places: str, end: str) -> None:
        # Plain SQL, because the ORM would encode the prepared values a second time.
        most = connections[self.using].features.max_query_params
        with connections[self.using].cursor() as cursor:
            for part in chunks(rows, most // len(self.fields) if most else BATCH):
                sql = insert + ", ".join([places] * len(part)) + end
                cursor.execute(sql, [value for row in part for value in row.values])

    # --- dead letters ------------------------------------------------------------------------------------------------

    def _dead_letters(self) -> Any:
        return DeadLetter.objects.using(self.using).filter(model=self.label)

    def _keep_dead_letters(self, documents: Documents, reasons: dict[Key, str]) -> None:
        if not (reasons or self.has_dead_letters):
            return
        self.has_dead_letters = True
        dead_letters = DeadLetter.objects.using(self.using)
        known = {row.pk: row for part in chunks([self._dead_letter_id(key) for key in documents])
                 for row in dead_letters.filter(pk__in=part)}  # fmt: skip
        fits = known.keys() - {self._dead_letter_id(key) for key in reasons}
        if fits:
            dead_letters.filter(pk__in=fits).delete()
        for key, reason in reasons.items():
            values = {"reason": reason[:2000], "tried_at": DatabaseNow()}
            if self._dead_letter_id(key) in known:
                dead_letters.filter(pk=self._dead_letter_id(key)).update(**values)
                continue
            dead_letters.create(
                pk=self._dead_letter_id(key), model=self.label, key=in_words(key), document_key=key, **values
            )
            logger.warning("%s %s becomes a dead letter: %s", self.label, in_words(key), reason[:200])

    def _dead_letter_id(self, key: Key) -> str:
        return hashlib.sha256(self.label.encode() + b"\0" + key).hexdigest()

    def oldest_dead_letters(self) -> list[Key]:
        dead_letters = self._dead_letters().order_by("tried_at")
        return [bytes(key) for key in dead_letters.values_list("document_key", flat=True)[:BATCH]]

    def count(self) -> int:
        return all_rows(self.model, self.using).count() + self._dead_letters().count()

    def keys(self) -> Iterator[Key]:
        rows = all_rows(self.model, self.using).order_by("pk").values_list("pk", flat=True)
        last: Any = None
        while part := list((rows if last is None else rows.filter(pk__gt=literal(self.pk, last)))[:BATCH]):
            # Another program may have written an invalid key; no document has it.
            yield from (self._key(pk) for pk in part if type(pk) is not Unreadable)
            last = part[-1]
        dead_letters = self._dead_letters().order_by("pk")
        last = ""
        while found := list(dead_letters.filter(pk__gt=last).values_list("pk", "document_key")[:BATCH]):
            yield from (bytes(key) for _, key in found)
            last = found[-1][0]


def _decode(raw: bytes | memoryview) -> dict[str, Any]:
    """Decodes a document. Raises MappingError if Python cannot represent it exactly, BSONError if it is invalid."""
    document = bson.decode(raw, CODEC_OPTIONS)
    if bson.encode(document, codec_options=CODEC_OPTIONS) != raw:
        raise MappingError(
            "some values cannot be stored exactly: a field's name occurs twice, or a value has a deprecated BSON type "
            "(symbol, undefined, pointer)"
        )
    return document


def _is_refusal(error: Exception) -> bool:
    """Returns whether the error concerns one row, so that the database would accept the other rows of the batch."""
    if isinstance(error, (DataError, IntegrityError)):
        return True
    code = mysql.number(error)
    if not isinstance(error, OperationalError) or code is None or code >= 2000:  # client errors start here
        return False
    return code not in mysql.OTHER_TABLES and not mysql.is_outage(error)


def fingerprint(model: type[PulledModel]) -> str:
    """Returns 64 hex digits that change whenever a document could become another row: with fields, sizes or source."""
    fields = [(name, *_definition(field)) for name, field in mirrored_fields(model)]
    return hashlib.sha256(repr((fields, model.source)).encode()).hexdigest()


def _definition(field: models.Field) -> tuple[Any, ...]:
    return *class_name(field), field.max_length, field.null


@dataclasses.dataclass
class _Batch:
    """A batch to write: rows by primary key, primary keys to delete, and the reasons of new dead letters."""

    documents: Documents
    rows: dict[Any, _Row] = dataclasses.field(default_factory=dict)
    gone: list[Any] = dataclasses.field(default_factory=list)
    reasons: dict[Key, str] = dataclasses.field(default_factory=dict)
    large: list[_Row] = dataclasses.field(default_factory=list)


class _Row(NamedTuple):
    """A row to write: `values` are the SQL parameters, `stored` what `TableSink.columns` returns for them.

    Without the instance: thousands of them with their documents would keep Python's garbage collector busy.
    """

    pk: Any
    values: list[Any]
    stored: list[Any]


def _constant(field: models.Field, default: Any) -> Any:
    """Returns the value of a `db_default`. Raises MappingError if the database computes it."""
    if isinstance(default.expression, models.Value):
        return default.expression.value
    raise MappingError(f"{field.name}: computed by the database; give it a `default` instead")


def _fields(model: type[models.Model]) -> list[models.Field]:
    return [field for field in model._meta.local_concrete_fields if not getattr(field, "generated", False)]


@functools.cache
def _insert_sql(model: type[models.Model], using: str) -> tuple[str, str, str]:
    """Returns `INSERT ... VALUES `, the placeholders of one row, and "". The ORM compiles it once per process."""
    head, places = _compiled(model, using).split("VALUES ", 1)
    return f"{head}VALUES ", places, ""


@functools.cache
def _upsert_sql(model: type[models.Model], using: str) -> tuple[str, str, str]:
    """Returns the same as `_insert_sql`, with the clause that updates an existing row as the last part."""
    insert, places, _ = _insert_sql(model, using)
    others = [field for field in _fields(model) if not field.primary_key]
    sql = _compiled(
        model, using, on_conflict=OnConflict.UPDATE, update_fields=others, unique_fields=[model._meta.pk]
    )  # fmt: skip
    return insert, places, sql.removeprefix(insert + places)


@functools.cache
def _update_sql(model: type[models.Model], using: str) -> str:
    """Returns the statement that updates one row. Parameters: the other fields in order, then the primary key."""
    quote: Any = connections[using].ops.quote_name
    others = ", ".join(f"{quote(field.column)} = %s" for field in _fields(model) if not field.primary_key)
    pk: Any = model._meta.pk
    return f"UPDATE {quote(model._meta.db_table)} SET {others} WHERE {quote(pk.column)} = %s"  # noqa: S608 (only names)


def _compiled(model: type[models.Model], using: str, **options: Any) -> str:
    query, fields = InsertQuery(model, **options), _fields(model)
    query.insert_values(fields, [model(**{field.attname: None for field in fields})])
    [(sql, _)] = query.get_compiler(using).as_sql()
    return sql


def _has_other_unique(model: type[models.Model]) -> bool:
    options = model._meta
    return bool(
        options.total_unique_constraints
        or options.unique_together
        or any(field.unique and not field.primary_key for field in options.concrete_fields)
    )
