"""Inserts many documents at once, unless a deadline has passed: for MongoDB a tenth of the work of as many upserts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import OperationFailure, WriteConcernError

FEWEST = 10  # documents; fewer are inserted one by one
LARGEST = 8 * 1024 * 1024  # bytes in one command, which MongoDB limits to 16 MiB
EMPTY = Timestamp(0, 0)  # a plain insert replaces it by the server's time

# Always fails, but is only evaluated when it is too late: `$type` keeps it from being a constant, which MongoDB would
# evaluate beforehand.
TOO_LATE = {"$toInt": {"$concat": ["too late: ", {"$type": "$_id"}]}}


def is_kept(document: dict[str, Any]) -> bool:
    """Whether a plain insert stores this document as it is."""
    return EMPTY not in document.values()


def in_time(deadline: datetime) -> dict[str, Any]:
    """The condition that `deadline` has not passed, by MongoDB's clock when the command starts."""
    return {"$lt": ["$$NOW", deadline]}


def parts(documents: Sequence[RawBSONDocument]) -> Iterator[slice]:
    """Yields slices of documents that fit into one command."""
    start = size = 0
    for place, document in enumerate(documents):
        if place > start and size + len(document.raw) > LARGEST:
            yield slice(start, place)
            start, size = place, 0
        size += len(document.raw)
    if documents:
        yield slice(start, len(documents))


def insert_before(
    deadline: datetime, collection: MongoCollection[dict[str, Any]], documents: Sequence[RawBSONDocument]
) -> bool:
    """Inserts documents that were seen absent, with the collection's write concern. Returns whether all are inserted.

    If not, some may be: one exists by now, or the collection refuses one, or the deadline has passed. The caller finds
    out by writing each alone. Raises PyMongoError if the time was too short or the majority has not confirmed.
    """
    database = collection.database.with_options(write_concern=collection.write_concern)
    source = {"$cond": [in_time(deadline), {"$literal": documents}, TOO_LATE]}
    insert = {"into": collection.name, "on": "_id", "whenMatched": "fail", "whenNotMatched": "insert"}
    try:
        database.aggregate([{"$documents": source}, {"$merge": insert}])
    except WriteConcernError:
        raise
    except OperationFailure as error:
        if error.timeout:
            raise
        return False
    return True
