"""Turns the text of one document into the row that produces exactly this document, or the reason why none does."""

import json
import re
from typing import Any

import bson
from bson import DatetimeMS
from bson.errors import BSONError
from django.db import models

from sync.mapping.limits import LARGEST, depth
from sync.mapping.strict_json import decode_document
from sync.models import MirroredModel

NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how the reader marks such bytes
DEEPEST = 100  # levels; MongoDB's limit


class Rejected(ValueError):
    """A record that cannot be loaded. The message says why."""


def decode(model: type[MirroredModel], text: str) -> MirroredModel:
    """The unsaved row of `model` for one document in Extended JSON, canonical or relaxed. Raises Rejected."""
    if not text.isascii() and NOT_UTF8.search(text):
        raise Rejected("not UTF-8")
    try:
        return to_row(model, decode_document(text))
    except json.JSONDecodeError as error:
        raise Rejected(f"broken JSON: {error.msg}, at character {error.pos + 1}") from error
    except RecursionError as error:
        raise Rejected(f"nested deeper than {DEEPEST} levels") from error
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, BSONError) as error:
        raise Rejected(str(error) or type(error).__name__) from error


def to_row(model: type[MirroredModel], document: Any) -> MirroredModel:
    """The unsaved row for a decoded document. Raises ValueError if the row would lose a value or type."""
    if not isinstance(document, dict):
        raise ValueError(f"not a document but {type(document).__name__}")
    if depth(document) > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    size = len(bson.encode(document))
    if size > LARGEST:
        raise ValueError(f"{size} bytes of BSON; MongoDB's limit is 16 MiB")
    for field in model._meta.concrete_fields:
        if isinstance(field, models.DateTimeField) and isinstance(document.get(field.name), DatetimeMS):
            raise ValueError(f"{field.name}: date out of range; years 1 to 9999 can be kept")
    row = model.from_document(document)
    kept = row.to_document()
    for name in sorted(document.keys() | kept.keys()):
        if name != "_sync" and _bson(document, name) != _bson(kept, name):
            raise ValueError(f"{name}: cannot be stored exactly")
    return row


def fingerprint(row: MirroredModel) -> bytes:
    """Equal for two rows exactly when their documents are: BSON distinguishes int32 from int64 and keeps the order of
    keys.

    A row that no document can hold, because a column cannot be read, has the fingerprint of its stored text.
    """
    try:
        return bson.encode(row.to_document())
    except (ValueError, TypeError, AttributeError, ArithmeticError, BSONError):
        return repr([row.__dict__.get(field.attname) for field in row._meta.concrete_fields]).encode("utf-8", "replace")


def _bson(document: dict[str, Any], name: str) -> bytes:
    return bson.encode({name: document[name]}) if name in document else b""
