"""Compares the expected document of a row with the BSON in MongoDB: byte for byte first, then by field.

Equal means the same bytes: the same fields in the same order with the same BSON types. Both sides are decoded only if
the bytes differ, to find where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

import bson
from bson import Decimal128, Int64
from bson.binary import UuidRepresentation

from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.documents import encode

OWN: dict[str, type] = {"v": Int64, "by": str}  # of `_sync`: the version, and the writer's token
# The same in BSON, with nothing after it: an embedded document, an int64, and a string without NUL.
OWN_SYNC = re.compile(rb"\x03_sync\0.{4}\x12v\0.{8}\x02by\0.{4}[^\0]*\0\0\0", re.DOTALL)
# Only to name the difference: MongoDB accepts text that is not UTF-8 and UUIDs of any length, which must not stop a
# reader of many documents.
LENIENT = CODEC_OPTIONS.with_options(
    unicode_decode_error_handler="replace", uuid_representation=UuidRepresentation.UNSPECIFIED
)
BINARY = 5  # the BSON type that has subtypes
SHOWN = 50  # fields listed for one document
TYPES = {
    1: "double", 2: "string", 3: "object", 4: "array", 6: "undefined", 7: "objectId", 8: "bool",
    9: "date", 10: "null", 11: "regex", 12: "dbPointer", 13: "javascript", 14: "symbol", 15: "javascript",
    16: "int32", 17: "timestamp", 18: "int64", 19: "decimal", 127: "maxKey", 255: "minKey",
}  # fmt: skip


@dataclass(frozen=True)
class FieldDifference:
    """One field that differs.

    path: the field's names from the outside in, joined by dots. A dot or backslash in a name is preceded by a
    backslash, and an empty name is written "". An array's element is named by its index. The document itself is "".
    kind: missing (in the document), extra (not in the row), value, type (same value, other BSON type), or order.
    expected, found: the BSON types of row and document; None if the field does not exist.
    """

    path: str
    kind: str
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        if self.kind == "order":
            return f"order of fields in {self.path}" if self.path else "order of fields"
        if self.kind in ("missing", "extra"):
            return f"{self.path} {self.kind}"
        if self.expected != self.found:
            return f"{self.path} is {self.found} instead of {self.expected}"
        return self.path

    def as_data(self) -> dict[str, Any]:
        """For JSON; `FieldDifference(**data)` is the inverse."""
        return asdict(self)


def is_equal(expected: dict[str, Any], document: bytes) -> bool:
    """Whether the stored BSON is what delivery writes: the expected fields in order, then `_sync` with some version.

    Raises MappingError if BSON cannot hold the expected document.
    """
    sync = expected.pop("_sync", None)
    body = encode(expected)[4:-1]
    if sync is not None:
        expected["_sync"] = sync
    end = 4 + len(body)
    if document[4:end] != body:
        return False
    if not sync:
        return OWN_SYNC.fullmatch(document, end) is not None
    found = _decode(document).get("_sync")
    own = _own(found) if isinstance(found, dict) else {}
    return (
        len(own) == len(OWN) and document[end:] == bson.encode({"_sync": own | sync}, codec_options=CODEC_OPTIONS)[4:]
    )


def field_differences(expected: dict[str, Any], document: bytes) -> tuple[FieldDifference, ...]:
    """Where two unequal documents differ: at most SHOWN fields, never none."""
    # Once encoded and decoded, both sides have the same Python types.
    wanted = _decode(bson.encode({**expected, "_sync": _wanted_sync(expected)}, codec_options=CODEC_OPTIONS))
    found = _decode(document)
    if isinstance(found.get("_sync"), dict):
        wanted["_sync"] |= _own(found["_sync"])
    differences = tuple(islice(_compare(wanted, found, ""), SHOWN))
    # Decoding can hide what the bytes show, such as a duplicate name.
    return differences or (FieldDifference("", "value", "object", "object"),)


def _wanted_sync(expected: dict[str, Any]) -> dict[str, Any]:
    return {"v": Int64(0), "by": "", **expected.get("_sync", {})}


def _own(sync: dict[str, Any]) -> dict[str, Any]:
    """The part of `_sync` that each delivery writes again, if it is there and of the right type."""
    return {name: sync[name] for name, kind in OWN.items() if type(sync.get(name)) is kind}


def _decode(document: bytes) -> dict[str, Any]:
    return bson.decode(document, codec_options=LENIENT)


def kind(differences: tuple[FieldDifference, ...]) -> str:
    """The kind of a document's mismatch: `different`, or, if nothing else differs, `type` or `order`."""
    kinds = {difference.kind for difference in differences}
    if kinds <= {"order"}:
        return "order"
    return "type" if kinds <= {"order", "type"} else "different"


def _compare(expected: Any, found: Any, path: str) -> Iterator[FieldDifference]:
    if isinstance(expected, dict) and isinstance(found, dict):
        yield from _compare_objects(expected, found, path)
    elif isinstance(expected, list) and isinstance(found, list):
        wanted, seen = (dict(enumerate(side)) for side in (expected, found))
        yield from _compare_members(wanted, seen, path)
    elif (ours := _encode(expected)) != (theirs := _encode(found)):
        types = _type(ours), _type(theirs)
        kind = "type" if types[0] != types[1] and _plain(expected, ours) == _plain(found, theirs) else "value"
        yield FieldDifference(path, kind, *types)


def _compare_objects(expected: dict[str, Any], found: dict[str, Any], path: str) -> Iterator[FieldDifference]:
    yield from _compare_members(expected, found, path)
    if [name for name in expected if name in found] != [name for name in found if name in expected]:
        yield FieldDifference(path, "order", "object", "object")


def _compare_members(expected: dict[Any, Any], found: dict[Any, Any], path: str) -> Iterator[FieldDifference]:
    for name in {**expected, **found}:
        inner = f"{path}.{_escape(name)}" if path else _escape(name)
        if name not in found:
            yield FieldDifference(inner, "missing", expected=_type(_encode(expected[name])))
        elif name not in expected:
            yield FieldDifference(inner, "extra", found=_type(_encode(found[name])))
        else:
            yield from _compare(expected[name], found[name], inner)


def _escape(name: Any) -> str:
    return str(name).replace("\\", "\\\\").replace(".", "\\.") or '""'


def _encode(value: Any) -> bytes:
    """The value as the only, nameless field of a document: length, type, b"\0", value, b"\0"."""
    return bson.encode({"": value}, codec_options=CODEC_OPTIONS)


def _type(encoded: bytes) -> str:
    if encoded[4] == BINARY:
        return f"binary (subtype {encoded[10]})"  # a length comes before it
    return TYPES.get(encoded[4], f"type {encoded[4]}")


def _plain(value: Any, encoded: bytes) -> Any:
    """The value regardless of its BSON type: numbers by their amount, binaries by their bytes."""
    if encoded[4] == BINARY:
        return encoded[11:]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Decimal(value)
    return value.to_decimal() if isinstance(value, Decimal128) else encoded
