"""Verify reports where two documents differ: the nested path, both types, and the order of the fields."""

import datetime
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64

from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.diff import field_differences, is_equal, kind

pytestmark = pytest.mark.quick

SYNC = {"v": Int64(7), "by": "a token"}
MOMENT = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def stored(document: dict[str, Any]) -> bytes:
    return bson.encode(document, codec_options=CODEC_OPTIONS)


CASES: list[tuple[Any, Any, str, list[str]]] = [
    (1, 2, "different", ["x"]),
    (1, Int64(1), "type", ["x is int64 instead of int32"]),
    (Int64(1), 1.0, "type", ["x is double instead of int64"]),
    (1, Decimal128("1.00"), "type", ["x is decimal instead of int32"]),
    (1, Int64(2), "different", ["x is int64 instead of int32"]),
    (1, True, "different", ["x is bool instead of int32"]),
    ("1", 1, "different", ["x is int32 instead of string"]),
    (0.0, -0.0, "different", ["x"]),
    (Decimal128("1.0"), Decimal128("1.00"), "different", ["x"]),
    (b"a", Binary(b"a", 5), "type", ["x is binary (subtype 5) instead of binary (subtype 0)"]),
    (MOMENT, MOMENT.isoformat(), "different", ["x is string instead of date"]),
    (None, {}, "different", ["x is object instead of null"]),
    ({"a": {"active": True}}, {"a": {"active": False}}, "different", ["x.a.active"]),
    ({"a.b": {"\\": {"": 1}}}, {"a.b": {"\\": {"": 2}}}, "different", [r'x.a\.b.\\.""']),
    ([{}, {"price": "1"}], [{}, {"price": "2"}], "different", ["x.1.price"]),
    ([1, 2], [1], "different", ["x.1 missing"]),
    ([1], [1, {"a": 1}], "different", ["x.1 extra"]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "order", ["order of fields in x"]),
    ({"a": 1, "b": 2}, {"b": Int64(2), "a": 1}, "type", ["x.b is int64 instead of int32", "order of fields in x"]),
    ({"a": 1, "b": 2}, {"b": 3, "a": 1}, "different", ["x.b", "order of fields in x"]),
]


@pytest.mark.parametrize(("expected", "found", "name", "words"), CASES, ids=lambda value: ascii(value)[:30])
def test_each_differing_field_is_reported_in_words(expected: Any, found: Any, name: str, words: list[str]) -> None:
    wanted, document = {"_id": 1, "x": expected}, stored({"_id": 1, "x": found, "_sync": SYNC})
    assert not is_equal(wanted, document)
    differences = field_differences(wanted, document)
    assert [str(difference) for difference in differences] == words
    assert kind(differences) == name


def test_documents_that_differ_only_in_their_version_are_equal() -> None:
    wanted: dict[str, Any] = {"_id": 1, "x": {"a": [1, Int64(2), Decimal128(Decimal("3"))]}, "_sync": {"us": {"x": 5}}}
    assert is_equal(wanted, stored({**wanted, "_sync": {"v": Int64(9), "by": "another", "us": {"x": 5}}}))
    assert list(wanted) == ["_id", "x", "_sync"]
    assert not is_equal(wanted, stored({**wanted, "_sync": {"v": Int64(9), "by": "another", "us": {"x": 6}}}))
    assert not is_equal(wanted, stored({**wanted, "_sync": {"v": Int64(9), "by": "another"}}))


@pytest.mark.parametrize("sync", [{}, None, "by hand", {"v": 7, "by": "a"}, {"v": Int64(7)}, {**SYNC, "note": 1}])
def test_sync_must_hold_exactly_what_delivery_writes(sync: Any) -> None:
    wanted = {"_id": 1, "x": 1}
    assert is_equal(wanted, stored({**wanted, "_sync": SYNC}))
    document = stored({**wanted, "_sync": sync})
    assert not is_equal(wanted, document)
    assert {difference.path.split(".")[0] for difference in field_differences(wanted, document)} == {"_sync"}
    assert not is_equal(wanted, stored({**wanted, "_sync": SYNC, "behind": 1}))
    assert not is_equal(wanted, stored(wanted))


def test_a_difference_that_only_the_bytes_show_is_reported_for_the_whole_document() -> None:
    twice = stored({"_id": 1, "x": 1})[4:-1] + stored({"x": 1, "_sync": SYNC})[4:]
    document = (len(twice) + 4).to_bytes(4, "little") + twice
    assert [difference.path for difference in field_differences({"_id": 1, "x": 1}, document)] == [""]


def test_at_most_fifty_fields_are_reported() -> None:
    wanted = {"_id": 1, "x": [1] * 1000}
    assert len(field_differences(wanted, stored({"_id": 1, "x": [2] * 1000, "_sync": SYNC}))) == 50
