"""Writing what was published into a collection of MongoDB, in the order of the topic, whoever else tries to.

A batch and the position after it are written in one transaction, and only if the position is still the one that the
batch begins at. So each part of a partition is applied once and in its place: a member of the group that was frozen,
and wakes up with what it had read, finds that the position has moved on, and writes nothing. Kafka's own group keeps
offsets too, for its tools; what counts is kept here, beside the documents. If the database is restored from a dump,
positions and documents are restored together.

Each document says which message it is of: `_sync.p` is the topic (by the id that a topic of the same name made anew
does not share) and partition, `_sync.o` the offset. Within a partition the larger offset wins, so that reading all of
it again changes nothing that is there, and brings back what was lost. A message of another topic or partition always
wins: the key's old topic is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pymongo
from bson import Int64
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from sync import conf
from sync.kafka.client import Topics
from sync.kafka.messages import Poison, decode, key_to_id, to_bson
from sync.models import MirroredModel
from sync.mongo import Unavailable, client, database, reason
from sync.mongo_errors import SERVERS_FAULT

POSITIONS = "sync_positions"  # the collection that they are kept in, in the replicas' database

Place = tuple[str, int]  # topic and partition
Span = tuple[int, int]  # the position that a batch begins at, and the one after it
Bury = Callable[[Message, str], None]


def place_of(message: Message) -> Place:
    """The partition that a message was read from."""
    return str(message.topic()), message.partition() or 0


def offset_of(message: Message) -> int:
    """Where it stands there."""
    return message.offset() or 0


class Moved(Exception):
    """Somebody else has applied what we were about to."""


class Replica:
    """The collections that topics are written to.

    routes: by topic its model and the collection's name. lane: the alias of their server, empty for MONGODB_URI's.
    """

    def __init__(self, routes: Mapping[str, tuple[type[MirroredModel], str]], lane: str = "") -> None:
        self.routes = routes
        self.lane = lane
        self.topics = Topics()
        self.ids: dict[str, str] = {}

    def place(self, consumer: Consumer, places: Sequence[Place], rewound: Sequence[Place]) -> list[TopicPartition]:
        """Where to go on reading in each of these partitions; from the beginning in the `rewound`. Raises Unavailable.

        A position of 0 is the beginning, wherever that is now.
        """
        self.ids = self.topics.ids({topic for topic, _ in places})
        try:
            with pymongo.timeout(conf.TIMEOUT):
                positions = database(self.lane)[POSITIONS]
                for topic, partition in places:
                    update: dict[str, Any] = {"$setOnInsert": {"topic": topic, "offset": Int64(0)}}
                    if (topic, partition) in rewound:
                        update = {"$set": {"topic": topic, "offset": Int64(0)}}
                    positions.update_one({"_id": self._position(topic, partition)}, update, upsert=True)
                wanted = [self._position(*place) for place in places]
                majority = positions.with_options(read_concern=ReadConcern("majority"))
                found = {one["_id"]: one["offset"] for one in majority.find({"_id": {"$in": wanted}})}
        except PyMongoError as error:
            raise Unavailable(reason(error)) from error
        return [
            TopicPartition(topic, partition, found[self._position(topic, partition)] or OFFSET_BEGINNING)
            for topic, partition in places
        ]

    def _position(self, topic: str, partition: int) -> str:
        return f"{self.routes[topic][1]}/{self._partition(topic, partition)}"

    def _partition(self, topic: str, partition: int) -> str:
        return f"{self.ids[topic]}/{partition}"

    def apply(self, messages: Sequence[Message], spans: Mapping[Place, Span], bury: Bury) -> None:
        """Writes a batch. bury: puts aside a message that cannot be written, with the reason.

        Raises Unavailable, and Moved when any of the positions is not the one that its span begins at.
        """
        last: dict[tuple[str, Any], Message] = {}  # one write for each key: its last message
        operations: dict[tuple[str, Any], Any] = {}
        for message in messages:
            try:
                key, operation = self._operation(message)
            except Poison as poison:
                bury(message, str(poison))
            else:
                last[key], operations[key] = message, operation
        while True:
            try:
                self._write(operations, spans)
                return
            except _Refused as refused:
                bury(last[refused.key], f"MongoDB: {refused}")
                del operations[refused.key]

    def _operation(self, message: Message) -> tuple[tuple[str, Any], Any]:
        topic, number = place_of(message)
        model, _ = self.routes[topic]
        _id = key_to_id(model, message.key())
        partition, offset = self._partition(topic, number), Int64(offset_of(message))
        value = message.value()
        if value is None:
            older = [{"_sync.p": {"$ne": partition}}, {"_sync.o": {"$lt": offset}}]
            return (topic, _id), pymongo.DeleteOne({"_id": _id, "$or": older})
        document = decode(value, _id)
        document["_sync"] = {**document.get("_sync", {}), "p": partition, "o": offset}
        newer = {"$or": [{"$ne": ["$_sync.p", partition]}, {"$lt": ["$_sync.o", offset]}]}
        pipeline = [{"$replaceWith": {"$cond": [newer, {"$literal": to_bson(document)}, "$$ROOT"]}}]
        return (topic, _id), pymongo.UpdateOne({"_id": _id}, pipeline, upsert=True)

    def _write(self, operations: Mapping[tuple[str, Any], Any], spans: Mapping[Place, Span]) -> None:
        by_topic: dict[str, list[tuple[str, Any]]] = {}
        for key in operations:
            by_topic.setdefault(key[0], []).append(key)

        def in_transaction(session: ClientSession) -> None:
            here = database(self.lane)
            for place, (first, after) in spans.items():
                filter_by = {"_id": self._position(*place), "offset": Int64(first)}
                found = here[POSITIONS].update_one(filter_by, {"$set": {"offset": Int64(after)}}, session=session)
                if not found.matched_count:
                    raise Moved
            for topic, keys in by_topic.items():
                documents = here[self.routes[topic][1]]
                try:
                    documents.bulk_write([operations[key] for key in keys], ordered=False, session=session)
                except BulkWriteError as error:
                    problems = (error.details or {}).get("writeErrors")
                    if not problems or error.has_error_label("TransientTransactionError"):
                        raise
                    if problems[0]["code"] in SERVERS_FAULT:
                        raise
                    raise _Refused(keys[problems[0]["index"]], problems[0]["errmsg"]) from error

        try:
            with pymongo.timeout(conf.TIMEOUT), client(self.lane).start_session() as session:
                session.with_transaction(
                    in_transaction, read_concern=ReadConcern("local"), write_concern=WriteConcern("majority")
                )
        except PyMongoError as error:
            # Among others when a member was killed in mid-transaction, which MongoDB gives up after a minute.
            raise Unavailable(reason(error)) from error


class _Refused(Exception):
    """MongoDB does not take the write for one key."""

    def __init__(self, key: tuple[str, Any], why: str) -> None:
        super().__init__(why)
        self.key = key
