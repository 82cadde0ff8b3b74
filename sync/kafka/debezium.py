"""Debezium's change events: what is taken from them is the key, and nothing else.

Each key is recorded as a change, as if the row had been saved here, and the relay delivers the row as it is in MySQL.
So a document never depends on how a connector writes times, decimals, bytes or JSON, nor on the order of events.

Every key that an event names is recorded: one too many is harmless, one too few is a document that stays old.

Positions are kept in the transactions that record the keys. Where events were lost, or say that a table was emptied,
all rows of the model are delivered again, and documents without a row are looked for: what a gap in the binary log has
`sync follow-binlog` do.
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
SWEEP = 1.0  # seconds between two looks for sweeps
SHOWN = 60  # characters of a message in the reason why it is a dead letter


class About(enum.Enum):
    """What an event is about that is not about a row."""

    EVERY_ROW = enum.auto()
    NO_ROW = enum.auto()


class Changes:
    """Records a change for each key that events name. routes: by topic its model. group: whose positions are kept."""

    def __init__(self, routes: Mapping[str, type[MirroredModel]], group: str, using: str = DEFAULT_DB_ALIAS) -> None:
        self.routes = routes
        self.group = group
        self.using = using
        self.topic_ids: dict[str, str] = {}
        self.answered: list[str] = []
        self.next_sweep = 0.0

    def kept(self, logs: Mapping[Place, Log]) -> dict[Place, Position]:
        """The positions that the default database has. Raises OperationalError and InterfaceError, as all here do."""
        self.topic_ids = {topic: log.topic_id for (topic, _), log in logs.items()}
        rows = self._positions().filter(topic__in=self.topic_ids)
        found = {
            (row.topic, row.partition): Position(row.cluster, row.topic_id, row.offset, row.read_at) for row in rows
        }
        return {place: position for place, position in found.items() if place in logs}

    def start(self, positions: Mapping[Place, Position], lost: Mapping[Place, Loss]) -> list[str]:
        """Keeps these positions. Of the models whose events were lost, all rows are delivered again."""
        models = {self.routes[topic] for topic, _ in lost}
        with transaction.atomic(self.using):
            for (topic, partition), position in positions.items():
                self._positions().update_or_create(
                    position._asdict(), group=self.group, topic=topic, partition=partition
                )
            for model in models:
                look_at_every_row(model, self.using)
        lines = [
            f"{what}. {_answer(self.routes[topic])}"
            for topic, what in dict.fromkeys((topic, loss.what) for (topic, _), loss in lost.items())
        ]
        self.answered += lines
        return lines

    def apply(
        self, messages: Sequence[Message], spans: Mapping[Place, Span], reject: Callable[[Message, str], None]
    ) -> None:
        """Records the keys of a batch. reject: takes a message that names none, with the reason. Raises Moved."""
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
            for model in sorted(keys, key=label):  # always in one order, so that members do not wait for each other
                self._record(model, list(keys[model]))
            for model in emptied:
                look_at_every_row(model, self.using)
        for model in emptied:
            logger.warning(
                "An event reports that the table of %s was truncated or altered. %s", label(model), _answer(model)
            )

    def read_all(self, places: Collection[Place]) -> None:
        """Keeps that all there is in these partitions has been read by now."""
        for topic, partition in places:
            self._positions().filter(topic=topic, partition=partition).update(read_at=datetime.now(UTC))

    def work(self) -> bool:
        """Looks for documents whose rows are gone, a piece at a time."""
        if time.monotonic() < self.next_sweep:
            return False
        try:
            is_done = not sweep.work(self.using)
        except Unavailable as error:
            logger.warning("%s. Orphans are searched for later.", error)
            self.next_sweep = time.monotonic() + LONGEST_PAUSE
            return False
        self.next_sweep = time.monotonic() + SWEEP if is_done else 0.0
        return not is_done

    def knows(self, topic: str) -> bool:
        """Whether a topic of this name was read before."""
        return self._positions().filter(topic=topic).exists()

    def left(self) -> list[str]:
        """What was lost, and how it is answered."""
        return self.answered

    def _positions(self) -> Any:
        return KafkaPosition.objects.using(self.using).filter(group=self.group)

    def _record(self, model: type[MirroredModel], keys: Collection[str]) -> None:
        for part in chunks(list(keys)):
            # MySQL may show an event to its followers a moment before it shows the row to everybody. The lock is
            # granted when the writer's transaction has ended, and what is recorded after that is delivered as new.
            list(all_rows(model, self.using).filter(pk__in=part).select_for_update().values_list("pk"))
            record(model, part, self.using, inline=False)


def look_at_every_row(model: type[MirroredModel], using: str) -> None:
    """Plans what makes documents equal to rows that have changed, come or gone without an event."""
    for target in targets(model):
        backfill.plan(target, using)
        if target.kind.readable:
            sweep.plan(target.label, using)


def _answer(model: type[MirroredModel]) -> str:
    return (
        f"A backfill of {label(model)} is planned, with a search for orphans. Relays do both. "
        "To see their progress, run: manage.py sync status"
    )


def keys_of(model: type[MirroredModel], key: bytes | None, value: bytes | None) -> Iterable[str] | About:
    """The keys that an event names, as changes have them. Raises Poison when it names none.

    Events may come with their schema or without, and flattened to the row. Keys may be JSON, a Struct's text, or the
    bare key. One that does not say the row's key, or is in a format that is not read, is no obstacle when the row does.
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
    """What a row says of a column. MySQL does not tell capitals in names of columns apart, and Debezium keeps them."""
    return [row[name] for name in row if name.lower() == column.lower()] if isinstance(row, dict) else []


def _of_base64(model: type[MirroredModel], value: Any) -> list[str]:
    """The key that this is where it is no text but bytes, as Debezium has exact numbers (DECIMAL, BIGINT UNSIGNED) and
    BINARY. "1234" may be both: then both rows are looked at, which does no harm."""
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
    """What an event is about that is about no single row; None for those of rows."""
    if value.get("op") == TRUNCATE or "ddl" in value:
        return About.EVERY_ROW
    is_transaction = value.keys() >= {"status", "id", "event_count"} and value["status"] in ("BEGIN", "END")
    return About.NO_ROW if is_transaction or value.keys() == {"ts_ms"} else None  # that is a heartbeat


def _payload(data: bytes | None) -> Any:
    """What JSON says, without its schema; None for what is none."""
    try:
        found = None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found["payload"] if isinstance(found, dict) and found.keys() == {"schema", "payload"} else found


def _bare(key: bytes | None, of_key: Any, column: str) -> list[Any]:
    """The key that is no JSON object: text as it is, also of digits, which JSON would take for a number."""
    if isinstance(of_key, str) or (isinstance(of_key, int) and (key or b"").lstrip().startswith(b"{")):
        return [of_key]  # quoted, or with a schema
    try:
        text = (key or b"").decode().strip()
    except UnicodeDecodeError:
        return []
    if struct := re.fullmatch(r"Struct\{(.*)\}", text, re.DOTALL):
        # A text of another column may look like ours: then both are looked at.
        return re.findall(rf"(?i)(?:^|,){re.escape(column)}=(.*?)(?=,\w+=|$)", struct[1], re.DOTALL)
    return [text] if text and text != "null" and not isinstance(of_key, dict | list) else []


def _to_key(model: type[MirroredModel], value: Any) -> str:
    """Raises Poison for what is no key of this model."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Poison(f"the key is not a key of {label(model)}: {_shown(json.dumps(value).encode())}")
    key_to_id(model, str(value).encode())
    assert model._meta.pk is not None
    return str(model._meta.pk.to_python(str(value)))  # of a number a UUID of digits is made otherwise


def _not_named(column: str, key: bytes | None, value: bytes | None) -> str:
    return (
        f"the event does not name {column!r}: its key is {_shown(key)}, its value {_shown(value)}. "
        'Expected is JSON with "before" or "after", or the flattened row, or a key in JSON, as text or a Struct'
    )


def _shown(data: bytes | None) -> str:
    """What a message has, for a person."""
    if data is None:
        return "absent"
    if not data:
        return "empty"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable() and not text.isspace() and "\0" in text:
        return f"binary (begins with {data[:5].hex(' ')}; Avro and Protobuf are not read)"
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
