"""Sharded collections: delivery requires each `_id` to be on one shard, which only a shard key of `_id` guarantees."""

from __future__ import annotations

import functools
import logging
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from sync.core import conf
from sync.mapping.registry import all_targets
from sync.mongodb.client import client, database
from sync.mongodb.errors import ATLAS, UNAUTHORIZED, Unavailable, reason

logger = logging.getLogger(__name__)

NOT_ALLOWED = {UNAUTHORIZED, ATLAS}


@functools.cache
def require_keys(alias: str) -> None:
    """Raises Unavailable if a collection of this server is sharded by anything but `_id`; checks until it passes.

    Otherwise two shards could each hold a document with the same `_id`, and a write by `_id` could miss one.
    """
    try:
        with pymongo.timeout(conf.TIMEOUT):
            found = _sharded(alias)
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error
    for document in found:
        key = document.get("key") or {"_id": 1}
        if list(key) != ["_id"]:
            raise Unavailable(
                f"The collection {document['_id']} is sharded by {', '.join(key)}, so one _id could be on two shards. "
                "Shard it by _id, plain or hashed (reshardCollection); nothing is delivered to it until then"
            )


def _sharded(alias: str) -> list[dict[str, Any]]:
    """Name and shard key of the server's sharded collections."""
    names = {f"{database(alias).name}.{target.collection}" for target in all_targets() if target.queue == alias}
    sharded = {"_id": {"$in": sorted(names)}, "dropped": {"$ne": True}}
    try:
        return list(client(alias).config.collections.find(sharded, {"key": 1}))
    except OperationFailure as error:
        if error.code not in NOT_ALLOWED:
            raise
    _warn_of_mongos(alias)
    return []


def _warn_of_mongos(alias: str) -> None:
    if client(alias).admin.command("hello").get("msg") == "isdbgrid":
        logger.warning(
            "The user of %s may not read config.collections, so shard keys cannot be checked: they must be _id, plain "
            "or hashed.",
            f"SYNC_TARGETS[{alias!r}]" if alias else "MONGODB_URI",
        )
