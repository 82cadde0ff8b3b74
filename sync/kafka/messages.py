"""The message format: the key as text and the row's document as canonical Extended JSON; no value for a deleted row.

    key    4ba267dc238d3ba3ca000001
    value  {"_id": {"$oid": "4ba267dc238d3ba3ca000001"}, "diggs": {"$numberInt": "404"}, "title": "..."}

A document's optional `_sync` holds what BSON cannot store: the microseconds of dates.
"""

from __future__ import annotations

import zlib
from typing import Any

import bson
from bson import json_util
from bson.raw_bson import RawBSONDocument
from django.db import models

from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.documents import known_codec, pk_of
from sync.mapping.extended_json import DOCUMENTS, canonical_json
from sync.outbox.mongo_writer import to_pk


class Poison(ValueError):
    """A message that cannot be read. Its text is the reason."""


def encode(document: dict[str, Any]) -> bytes:
    """Return the value for one row's document. Raises what BSON's library raises for a value that it cannot write."""
    return canonical_json(document).encode()


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key. It must never change: Kafka orders messages only within a partition."""
    return zlib.crc32(key.encode()) % partitions


def key_to_id(model: type[models.Model], key: bytes | None) -> Any:
    """Return the `_id` for a message's key. Raises Poison."""
    try:
        return known_codec(pk_of(model)).to_bson(to_pk(model, (key or b"").decode()))
    except Exception as error:  # a field's to_python may raise anything
        raise Poison(f"the key is not valid for {model._meta.label_lower}: {error}") from error


def decode(value: bytes, _id: Any) -> dict[str, Any]:
    """Return the document of a message whose key means `_id`. Raises Poison."""
    try:
        document = json_util.loads(value.decode(), json_options=DOCUMENTS)
    except (ValueError, TypeError, bson.errors.BSONError, ArithmeticError, RecursionError) as error:
        raise Poison(f"the value is not Extended JSON: {error}") from error
    if not isinstance(document, dict) or document.get("_id") != _id:
        raise Poison("the value is not a document with the key's _id")
    if not isinstance(document.get("_sync", {}), dict):
        raise Poison("the value's _sync is not an object")
    return document


def to_bson(document: dict[str, Any]) -> RawBSONDocument:
    """Encode one document on its own, so that an error in it stops no other document. Raises Poison."""
    try:
        return RawBSONDocument(bson.encode(document, codec_options=CODEC_OPTIONS))
    except (bson.errors.BSONError, OverflowError, ValueError, TypeError) as error:
        raise Poison(f"the value cannot be stored as BSON: {error}") from error
