"""Debezium's change events: the consumer reads only the keys.

It records each key as a change, as if Django had saved the row, and the relay delivers the current row from MySQL. So a
document never depends on how a connector encodes times, decimals, bytes or JSON, nor on the order of events.

Every key that an event names is recorded: a superfluous key is harmless, a missed key leaves an outdated document.

Positions are saved in the transaction that records the keys. If events were lost, or an event says that a table was
emptied, all rows of the model are delivered again and orphans are removed, as `sync follow-binlog` does after a gap in
the binary log.
"""

from __future__ import annotations

import base64
import enum
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from confluent_kafka import Message
from django.db import DEFAULT_DB_ALIAS, models, transaction

from sync.binlog import sweep
from sync.core.batching import chunks
from sync.kafka.messages import Poison, key_to_id
from sync.kafka.models import KafkaPosition
from sync.kafka.position import Log, Loss, Moved, Place, Position, Span
from sync.mapping.documents import pk_of
from sync.mapping.registry import all_rows, label, targets
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill
from sync.outbox.capture import record
from sync.outbox.mirrored import MirroredModel
from sync.workers.loop import LONGEST_PAUSE

logger = logging.getLogger(__name__)

TRUNCATE = "t"
SWEEP = 1.0  # seconds between two queries for planned sweeps
SHOWN = 60  # characters of a message in a dead letter's reason


class About(enum.Enum):
    """The subject of an event that is not about a single row."""

    EVERY_ROW = enum.auto()
    NO_ROW = enum.auto()


class Changes:
    """Records a change for each key that events name. routes: the model of each topic. group: the consumer group."""

    def __init__(self, routes: Mapping[str, type[MirroredModel]], group: str, using: str = DEFAULT_DB_ALIAS) -> None:
        self.routes = routes
        self.group = group
        self.using = using
        self.topic_ids: dict[str, str] = {}
        self.answered: list[str] = []
        self.next_sweep = 0.0

    def kept(self, logs: Mapping[Place, Log]) -> dict[Place, Position]:
        """Return the saved positions. Raises OperationalError and InterfaceError, as all methods here do."""
        self.topic_ids = {topic: log.topic_id for (topic, _), log in logs.items()}
        rows = self._positions().filter(topic__in=self.topic_ids)
        found = {
            (row.topic, row.partition): Position(row.cluster, row.topic_id, row.offset, row.read_at) for row in rows
        }
        return {place: position for place, position in found.items() if place in logs}

    def start(self, positions: Mapping[Place, Position], lost: Mapping[Place, Loss]) -> list[str]:
        """Save these positions, and plan a full delivery of each model that lost events. Return warnings."""
        models = {self.routes[topic] for topic, _ in lost}
        with transaction.atomic(self.using):
            for (topic, partition), position in positions.items():
                self._positions().update_or_create(
                    position._asdict(), group=self.group, topic=topic, partition=partition
                )
            for model in models:
                deliver_every_row(model, self.using)
        lines = [
            f"{what}. {_answer(self.routes[topic])}"
            for topic, what in dict.fromkeys((topic, loss.what) for (topic, _), loss in lost.items())
        ]
        self.answered += lines
        return lines

    def apply(
        self, messages: Sequence[Message], spans: Mapping[Place, Span], reject: Callable[[Message, str], None]
    ) -> None:
        """Record the keys of a batch. reject: called with each message without a key, and the reason. Raises Moved."""
        keys: dict[type[MirroredModel], dict[str, None]] = {}
        emptied: set[type[MirroredModel]] = set()
        for message in messages:
            model = self.routes[str(message.topic())]
            try:
                named = keys_of(model, message.key(), message.value())
            except Poison as poison:
                reject(message, str(poison))
                continue
            if named is About.EVERY_ROW:
                emptied.add(model)
            elif not isinstance(named, About):
                keys.setdefault(model, {}).update(dict.fromkeys(named))
        with transaction.atomic(self.using):
            for (topic, partition), (first, after) in spans.items():
                mine = self._positions().filter(
                    topic=topic, partition=partition, topic_id=self.topic_ids[topic], offset=first
                )
                if not mine.update(offset=after):
                    raise Moved
            for model in sorted(keys, key=label):  # a fixed order, so that members do not deadlock
                self._record(model, list(keys[model]))
            for model in emptied:
                deliver_every_row(model, self.using)
        for model in emptied:
            logger.warning(
                "An event reports that the table of %s was truncated or altered. %s", label(model), _answer(model)
            )

    def read_all(self, places: Collection[Place]) -> None:
        """Save that these partitions have been read to their end now."""
        for topic, partition in places:
            self._positions().filter(topic=topic, partition=partition).update(read_at=datetime.now(UTC))

    def work(self) -> bool:
        """Search one more part of a collection for orphans. Return whether more is left."""
        if time.monotonic() < self.next_sweep:
            return False
        try:
            is_done = not sweep.work(self.using)
        except Unavailable as error:
            logger.warning("%s. The search for orphans is retried later.", error)
            self.next_sweep = time.monotonic() + LONGEST_PAUSE
            return False
        self.next_sweep = time.monotonic() + SWEEP if is_done else 0.0
        return not is_done

    def knows(self, topic: str) -> bool:
        """Return whether a topic of this name was read before."""
        return self._positions().filter(topic=topic).exists()

    def left(self) -> list[str]:
        """Return the losses and how they are recovered, one line each."""
        return self.answered

    def _positions(self) -> Any:
        return KafkaPosition.objects.using(self.using).filter(group=self.group)

    def _record(self, model: type[MirroredModel], keys: Collection[str]) -> None:
        for part in chunks(list(keys)):
            # MySQL may write an event to its binary log before the row is visible to other transactions. The lock is
            # granted only after the writer's transaction, so a change recorded under it delivers the new row.
            list(all_rows(model, self.using).filter(pk__in=part).select_for_update().values_list("pk"))
            record(model, part, self.using, inline=False)


def deliver_every_row(model: type[MirroredModel], using: str) -> None:
    """Plan a backfill and a search for orphans, for rows that have changed without an event."""
    for target in targets(model):
        backfill.plan(target, using)
        if target.kind.readable:
            sweep.plan(target.label, using)


def _answer(model: type[MirroredModel]) -> str:
    return (
        f"A backfill of {label(model)} and a search for documents without a row are planned, and start by themselves. "
        "To see the progress, run: manage.py sync status"
    )


def keys_of(model: type[MirroredModel], key: bytes | None, value: bytes | None) -> Iterable[str] | About:
    """Return the keys that an event names, in the form that changes use. Raises Poison if it names none.

    Events may have a schema or not, and may be flattened to the row. Message keys may be JSON, a Struct's text, or the
    plain key. A message key without the row's key, or in an unsupported format, is ignored if the value has the key.
    """
    column = pk_of(model).column
    of_key, of_value = _payload(key), _payload(value)
    if isinstance(of_value, dict) and not _said(of_value, column) and (about := _about(of_value)):
        return about
    rows = [of_value.get("after"), of_value.get("before"), of_value] if isinstance(of_value, dict) else []
    said = [one for row in (of_key, *rows) for one in _said(row, column) if one is not None]
    named = [reading for one in said for reading in (one, *_of_base64(model, one))]
    if not named:
        named = _bare(key, of_key, column)
    found: dict[str, None] = {}
    problems = []
    for one in named:
        try:
            found[_to_key(model, one)] = None
        except Poison as poison:
            problems.append(str(poison))
    if not found:
        raise Poison(problems[0] if problems else _not_named(column, key, value))
    return found


def _said(row: Any, column: str) -> list[Any]:
    """Return a row's values of a column. MySQL's column names are case-insensitive, and Debezium keeps the case."""
    return [row[name] for name in row if name.lower() == column.lower()] if isinstance(row, dict) else []


def _of_base64(model: type[MirroredModel], value: Any) -> list[str]:
    """Return the key that a value means if it is base64: Debezium's form of DECIMAL, BIGINT UNSIGNED and BINARY.

    "1234" may be text or base64; then both rows are delivered, which is harmless.
    """
    field: Any = model._meta.pk
    while field.remote_field:
        field = field.target_field
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        return []
    if isinstance(field, models.UUIDField) and len(data) == 16:
        return [data.hex()]
    if isinstance(field, models.IntegerField | models.DecimalField) and data:
        number, places = int.from_bytes(data, "big", signed=True), getattr(field, "decimal_places", 0)
        return [f"{Decimal(f'{number}e-{places}'):f}"]
    return []


def _about(value: Mapping[str, Any]) -> About | None:
    """Return the subject of an event that is not about a single row; None for an event about a row."""
    if value.get("op") == TRUNCATE or "ddl" in value:
        return About.EVERY_ROW
    is_transaction = value.keys() >= {"status", "id", "event_count"} and value["status"] in ("BEGIN", "END")
    return About.NO_ROW if is_transaction or value.keys() == {"ts_ms"} else None  # that is a heartbeat


def _payload(data: bytes | None) -> Any:
    """Return parsed JSON without its schema; None if the data is not JSON."""
    try:
        found = None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found["payload"] if isinstance(found, dict) and found.keys() == {"schema", "payload"} else found


def _bare(key: bytes | None, of_key: Any, column: str) -> list[Any]:
    """Return a key that is not a JSON object, as text. Digits stay text, although JSON would parse a number."""
    if isinstance(of_key, str) or (isinstance(of_key, int) and (key or b"").lstrip().startswith(b"{")):
        return [of_key]  # quoted, or with a schema
    try:
        text = (key or b"").decode().strip()
    except UnicodeDecodeError:
        return []
    if struct := re.fullmatch(r"Struct\{(.*)\}", text, re.DOTALL):
        # The text of another column may look like this key; then both rows are delivered.
        return re.findall(rf"(?i)(?:^|,){re.escape(column)}=(.*?)(?=,\w+=|$)", struct[1], re.DOTALL)
    return [text] if text and text != "null" and not isinstance(of_key, dict | list) else []


def _to_key(model: type[MirroredModel], value: Any) -> str:
    """Convert a value to a key of this model. Raises Poison if it is not one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Poison(f"the key is not valid for {label(model)}: {_shown(json.dumps(value).encode())}")
    key_to_id(model, str(value).encode())
    assert model._meta.pk is not None
    return str(model._meta.pk.to_python(str(value)))  # as text: a number gives another UUID


def _not_named(column: str, key: bytes | None, value: bytes | None) -> str:
    return (
        f"the event has no {column!r}: its key is {_shown(key)}, its value {_shown(value)}. "
        'Expected JSON with "before" or "after", the flattened row, or a key as JSON, text or a Struct'
    )


def _shown(data: bytes | None) -> str:
    """Describe a message's key or value for a reader."""
    if data is None:
        return "absent"
    if not data:
        return "empty"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable() and not text.isspace() and "\0" in text:
        return f"binary (begins with {data[:5].hex(' ')}; Avro and Protobuf are not supported)"
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
