"""Debezium's change events: what is taken from them is the key, and nothing else.

Each key is recorded as a change, as if the row had been saved here, and the relay delivers the row as it is in MySQL.
So a document never depends on how a connector writes times, decimals, bytes or JSON, nor on the order of events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from django.db import DEFAULT_DB_ALIAS, transaction

from sync import conf
from sync.capture import chunks, record
from sync.kafka.client import Trouble
from sync.kafka.messages import Poison, key_to_id, plain_json
from sync.kafka.replica import Bury, Place, Span
from sync.models import MirroredModel
from sync.registry import all_rows

OF_A_ROW = {"c", "u", "d", "r"}  # created, updated, deleted, read by a snapshot


class Changes:
    """Records a change for each key that events name. routes: by topic its model."""

    def __init__(self, routes: Mapping[str, type[MirroredModel]], using: str = DEFAULT_DB_ALIAS) -> None:
        self.routes = routes
        self.using = using

    def place(self, consumer: Consumer, places: Sequence[Place], rewound: Sequence[Place]) -> list[TopicPartition]:
        """Where the group has left off in each of these partitions; the `rewound` from the beginning.

        Raises Unavailable.
        """
        try:
            committed = consumer.committed([TopicPartition(*place) for place in places], timeout=conf.TIMEOUT)
        except KafkaException as error:
            raise Trouble().unavailable(error) from error
        for one in committed:
            if one.offset < 0 or (one.topic, one.partition) in rewound:
                one.offset = OFFSET_BEGINNING
        return committed

    def apply(self, messages: Sequence[Message], spans: Mapping[Place, Span], bury: Bury) -> None:
        """Records the keys of a batch. bury: puts aside a message that names none, with the reason.

        Raises OperationalError and InterfaceError when the database does not serve.
        """
        keys: dict[type[MirroredModel], dict[str, None]] = {}
        for message in messages:
            model = self.routes[str(message.topic())]
            try:
                keys.setdefault(model, {})[key_of(model, message)] = None
            except Poison as poison:
                bury(message, str(poison))
        for model, named in keys.items():
            self._record(model, list(named))

    def _record(self, model: type[MirroredModel], keys: Collection[str]) -> None:
        for part in chunks(list(keys)):
            with transaction.atomic(self.using):
                # MySQL may show an event to its followers a moment before it shows the row to everybody. The lock is
                # granted when the writer's transaction has ended, and what is recorded after that is delivered as new.
                list(all_rows(model, self.using).filter(pk__in=part).select_for_update().values_list("pk"))
                record(model, part, self.using, inline=False)


def key_of(model: type[MirroredModel], message: Message) -> str:
    """The key that an event is about, as changes have it. Raises Poison.

    Events may come with their schema or without, and flattened to the row. A key that the message does not have is
    taken from the row.
    """
    key, value = _payload(plain_json(message.key())), _payload(plain_json(message.value()))
    if isinstance(value, dict) and "op" in value and value["op"] not in OF_A_ROW:
        raise Poison(f"an event of kind {value['op']!r} is about no single row; run verify --repair --prune")
    assert model._meta.pk is not None
    column = model._meta.pk.column
    rows = [value.get("after"), value.get("before"), value] if isinstance(value, dict) else []
    found = [row[column] for row in (key, *rows) if isinstance(row, dict) and row.get(column) is not None]
    if not found and isinstance(key, str | int):
        found = [key]
    if not found:
        raise Poison(f"the event does not say {column!r}")
    key_to_id(model, str(found[0]).encode())
    return str(model._meta.pk.to_python(found[0]))


def _payload(data: Any) -> Any:
    return data["payload"] if isinstance(data, dict) and data.keys() == {"schema", "payload"} else data
