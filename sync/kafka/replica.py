"""Write published messages to a MongoDB collection in the order of the topic, even with concurrent consumers.

A batch and the position after it are written in one transaction, and only if the position is still the one at which the
batch begins. So each part of a partition is applied once and in order: a group member that was frozen and wakes up with
messages it has read finds that the position has moved, and writes nothing. Kafka also stores the group's offsets, for
its tools; the positions that count are stored here, next to the documents. Restoring the database from a dump restores
positions and documents together.

Each document names its message: `_sync.p` is the topic's id (a topic that is created again gets another id) and the
partition, `_sync.o` the offset. Within a partition the larger offset wins, so reading it again changes no existing
document and restores lost ones. A message of another topic or partition always wins: the key's old topic is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pymongo
from bson import Int64
from confluent_kafka import Message
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from sync.core import conf
from sync.core.humanize import counted
from sync.kafka.messages import Poison, decode, key_to_id, to_bson
from sync.kafka.position import Gap, Log, Loss, Moved, Place, Position, Span, offset_of, place_of
from sync.mongodb.client import client, database
from sync.mongodb.errors import SERVERS_FAULT, Unavailable, reason
from sync.outbox.mirrored import MirroredModel

POSITIONS = "sync_positions"  # the collection of the positions, in the replicas' database


class Replica:
    """The collections to which topics are written.

    routes: the model and collection name of each topic. alias: the alias of the server, empty for MONGODB_URI's.
    """

    def __init__(self, routes: Mapping[str, tuple[type[MirroredModel], str]], alias: str = "") -> None:
        self.routes = routes
        self.alias = alias
        self.ids: dict[str, str] = {}  # the id of each topic
        self.renewed: set[str] = set()  # topics that were created again and are read from their start

    def kept(self, logs: Mapping[Place, Log]) -> dict[Place, Position]:
        """Return the positions stored next to the documents. Raises Unavailable.

        Positions of a former topic of the same name, or of another cluster, are returned until they are replaced.
        """
        self.ids = {topic: log.topic_id for (topic, _), log in logs.items()}
        found: dict[Place, Position] = {}
        with self._reachable():
            majority = self._positions().with_options(read_concern=ReadConcern("majority"))
            documents = [(topic, one) for topic in self.ids for one in majority.find(self._of(topic))]
        for topic, one in documents:
            # The topic's id may contain slashes.
            own = str(one["_id"]).removeprefix(f"{self.routes[topic][1]}/")
            kept_id, _, partition = own.rpartition("/")
            place = (topic, int(partition))
            if place in logs and (place not in found or kept_id == self.ids[topic]):
                found[place] = Position(one.get("cluster", ""), kept_id, one["offset"], one.get("read_at"))
        return found

    def start(self, positions: Mapping[Place, Position], lost: Mapping[Place, Loss]) -> list[str]:
        """Replace the positions of these partitions. Return warnings, one line each. Raises Unavailable and Gap.

        A loss is not reported again for a partition that is read from the beginning: that recovers it.
        """
        lost = {place: loss for place, loss in lost.items() if not loss.is_rewound}
        for (topic, _), loss in lost.items():
            if not loss.is_new_topic:
                raise Gap(f"{loss.what}. {self._answer(topic)}")

        def in_transaction(session: ClientSession) -> None:
            for (topic, partition), position in positions.items():
                own = re.escape(f"/{partition}") + "$"
                self._positions().delete_many({"$and": [self._of(topic), {"_id": {"$regex": own}}]}, session=session)
                self._positions().insert_one(
                    {
                        "_id": self._position(topic, partition), "topic": topic, "cluster": position.cluster,
                        "offset": Int64(position.offset), "read_at": position.read_at,
                    }, session=session,
                )  # fmt: skip

        self._transact(in_transaction)
        self.renewed |= {topic for topic, _ in lost}
        return [
            f"{what}. The consumer reads it from its start. {self._answer(topic)}"
            for topic, what in dict.fromkeys((topic, loss.what) for (topic, _), loss in lost.items())
        ]

    def _answer(self, topic: str) -> str:
        """Return instructions that make the replica contain exactly the rows of the table."""
        model, collection = self.routes[topic]
        name = f"{self.alias}:{collection}" if self.alias else collection
        return (
            f"To remove documents of deleted rows, drop the collection {collection}. Then run: "
            f"manage.py sync consume {model._meta.model_name} --to {name} --from-beginning, and: "
            f"manage.py sync backfill {model._meta.model_name}"
        )

    def read_all(self, places: Collection[Place]) -> None:
        """Save that these partitions have been read to their end now. Raises Unavailable."""
        with self._reachable():
            wanted = {"_id": {"$in": [self._position(*place) for place in places]}}
            self._positions().update_many(wanted, {"$set": {"read_at": datetime.now(UTC)}})

    def work(self) -> bool:
        """Return False: a replica has no additional work."""
        return False

    def left(self) -> list[str]:
        """Report documents that are missing in a topic that was created again. Raises Unavailable."""
        lines = []
        for topic in self.renewed:
            wanted = {"_sync.p": {"$exists": True, "$not": re.compile(f"^{re.escape(self.ids[topic])}/")}}
            collection = self.routes[topic][1]
            with self._reachable():
                count = database(self.alias)[collection].count_documents(wanted)
            if count:
                documents = counted(count, "document", "documents")
                lines.append(f"{collection} has {documents} that {topic} does not have. {self._answer(topic)}")
        return lines

    def knows(self, topic: str) -> bool:
        """Return whether a topic of this name was read before. Raises Unavailable."""
        with self._reachable():
            return self._positions().find_one(self._of(topic)) is not None

    def _positions(self) -> MongoCollection[dict[str, Any]]:
        return database(self.alias)[POSITIONS]

    def _of(self, topic: str) -> dict[str, Any]:
        """Return a filter for the positions of all current and former topics of this name."""
        return {"topic": topic, "_id": {"$regex": f"^{re.escape(self.routes[topic][1])}/"}}

    def _position(self, topic: str, partition: int) -> str:
        return f"{self.routes[topic][1]}/{self._partition(topic, partition)}"

    def _partition(self, topic: str, partition: int) -> str:
        return f"{self.ids[topic]}/{partition}"

    def apply(
        self, messages: Sequence[Message], spans: Mapping[Place, Span], reject: Callable[[Message, str], None]
    ) -> None:
        """Write a batch. reject: called with each message that cannot be written, and the reason.

        Raises Unavailable, and Moved if a saved position is not the start of its span.
        """
        last: dict[tuple[str, Any], Message] = {}  # only the last message of each key is written
        operations: dict[tuple[str, Any], Any] = {}
        for message in messages:
            try:
                key, operation = self._operation(message)
            except Poison as poison:
                reject(message, str(poison))
            else:
                last[key], operations[key] = message, operation
        while True:
            try:
                self._write(operations, spans)
                return
            except _Rejected as rejected:
                reject(last[rejected.key], f"MongoDB: {rejected}")
                del operations[rejected.key]

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
            here = database(self.alias)
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
                    raise _Rejected(keys[problems[0]["index"]], problems[0]["errmsg"]) from error

        self._transact(in_transaction)

    def _transact(self, work: Callable[[ClientSession], None]) -> None:
        with self._reachable(), client(self.alias).start_session() as session:
            session.with_transaction(work, read_concern=ReadConcern("local"), write_concern=WriteConcern("majority"))

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Raise MongoDB's errors as Unavailable."""
        try:
            with pymongo.timeout(conf.TIMEOUT):
                yield
        except PyMongoError as error:
            # One cause: a member was killed during a transaction, which MongoDB aborts only after a minute.
            raise Unavailable(reason(error)) from error


class _Rejected(Exception):
    """MongoDB rejected the write of one key."""

    def __init__(self, key: tuple[str, Any], why: str) -> None:
        super().__init__(why)
        self.key = key
