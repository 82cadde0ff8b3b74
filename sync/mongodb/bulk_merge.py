"""Writes many documents by one command that keeps the condition of each: less work for MongoDB than as many updates.

A `$merge` ends at the first document whose condition does not hold, with an error that does not name it. So its caller
finds out which documents are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import OperationFailure, WriteConcernError

FEWEST = 10  # documents; fewer are written one by one
LARGEST = 8 * 1024 * 1024  # bytes in one command, which MongoDB limits to 16 MiB
EMPTY = Timestamp(0, 0)  # a plain insert replaces it by the server's time

# Always fails, but is only evaluated where a condition does not hold: `$type` keeps it from being a constant, which
# MongoDB would evaluate beforehand.
FAIL = {"$toInt": {"$concat": ["the condition does not hold: ", {"$type": "$_id"}]}}
UNCHANGED = {"$eq": ["$_sync.v", "$$new.v"]}


class Replacement(NamedTuple):
    """version: `_sync.v` of the document that is to be replaced."""

    id: Any
    version: int
    document: RawBSONDocument


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

    If not, some may be: one exists by now, or the collection refuses one, or the deadline has passed. Raises
    PyMongoError if the time was too short or the majority has not confirmed.
    """
    source = {"$cond": [in_time(deadline), {"$literal": documents}, FAIL]}
    return _merge(collection, source, whenMatched="fail", whenNotMatched="insert")


def replace_unchanged(collection: MongoCollection[dict[str, Any]], replacements: Sequence[Replacement]) -> bool:
    """Replaces documents that still have their version, with the collection's write concern. Returns whether all are.

    If not, some may be replaced: one has another version by now or is missing, or the collection refuses one. Raises
    PyMongoError if the time was too short or the majority has not confirmed.
    """
    source = {"$literal": [{"_id": _id, "v": version, "new": document} for _id, version, document in replacements]}
    replace = [{"$replaceWith": {"$cond": [UNCHANGED, "$$new.new", FAIL]}}]
    return _merge(collection, source, whenMatched=replace, whenNotMatched="fail")


def _merge(collection: MongoCollection[dict[str, Any]], source: dict[str, Any], **how: Any) -> bool:
    database = collection.database.with_options(write_concern=collection.write_concern)
    try:
        database.aggregate([{"$documents": source}, {"$merge": {"into": collection.name, "on": "_id", **how}}])
    except WriteConcernError:
        raise
    except OperationFailure as error:
        if error.timeout:
            raise
        return False
    return True
