"""Every field at its extremes: the document holds exactly what the row holds, or the row is rejected with a reason."""

import datetime
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId
from django.db import connection, models
from pymongo.database import Database

from sync.mapping.documents import MappingError, from_document, to_document
from sync.mapping.registry import Target
from sync.tests.support.exact import CODEC, as_bson
from sync.tests.zoo.models import Typed
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
UTC = datetime.UTC
SOME_UUID = uuid.UUID("0123456789ab4def8123456789abcd00")

EXACT: list[tuple[str, Any, Any]] = [
    ("text", "", ""),
    ("text", "$where", "$where"),
    ("text", "smile \N{GRINNING FACE} \N{COMBINING ACUTE ACCENT}", None),
    ("text", "line\nand\ttab \\ ' \"", "line\nand\ttab \\ ' \""),
    ("small", -(2**15), -(2**15)),
    ("integer", -(2**31), -(2**31)),
    ("integer", 2**31 - 1, 2**31 - 1),
    ("big", 2**63 - 1, Int64(2**63 - 1)),
    ("big", -(2**63), Int64(-(2**63))),
    ("big", 1, Int64(1)),
    ("positive", 2**31 - 1, Int64(2**31 - 1)),
    ("positive_big", 2**63 - 1, Int64(2**63 - 1)),
    ("unsigned", 0, Decimal128("0")),
    ("unsigned", 2**63 - 1, Decimal128("9223372036854775807")),
    ("unsigned", 2**64 - 1, Decimal128("18446744073709551615")),
    ("flag", True, True),
    ("flag", False, False),
    ("number", 0.1, 0.1),
    ("number", 1.7976931348623157e308, 1.7976931348623157e308),
    ("number", 5e-324, 5e-324),
    ("amount", Decimal("12345678901234567.12345678901234567"), Decimal128("12345678901234567.12345678901234567")),
    ("amount", Decimal("-0.1"), Decimal128("-0.10000000000000000")),
    ("moment", datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, UTC), None),
    ("moment", datetime.datetime(1000, 1, 1, tzinfo=UTC), None),
    ("day", datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, tzinfo=UTC)),
    ("time", datetime.time(23, 59, 59, 999999), "23:59:59.999999"),
    ("duration", -datetime.timedelta(days=1, microseconds=1), Int64(-86_400_000_001)),
    ("uuid", SOME_UUID, Binary.from_uuid(SOME_UUID)),
    ("binary", b"\0\xff$\0", b"\0\xff$\0"),
    ("address", "2001:db8::1", "2001:db8::1"),
    ("json", {"a": 2**40, "z": True, "a.b": [1, 2.5, None, {"": ""}]}, None),
    ("document", {"z": 1, "a": Int64(1), "d": Decimal128("1.10"), "n": None, "o": {}, "l": []}, None),
    ("document", [ObjectId("5ca4bbc7a2dd94ee5816238c"), datetime.datetime(1, 1, 1, tzinfo=UTC), b"x", -0.0, 2.0], None),
    ("document", float("inf"), None),
    ("document", {"a.b": 1, "a": 2}, None),
    ("document", "just text", None),
    ("document", {"f": Code("return 1"), "g": Code("return x", {"x": Int64(1)})}, None),
]  # fmt: skip


def stored(mongo: Database) -> dict[str, Any]:
    return mongo.get_collection("zoo_typed", codec_options=CODEC).find_one()


@pytest.mark.parametrize(("name", "value", "expected"), EXACT, ids=lambda value: str(value)[:20])
def test_it_round_trips_exactly(name: str, value: Any, expected: Any, mongo: Database) -> None:
    if name == "amount" and connection.vendor == "sqlite":
        pytest.skip("SQLite keeps decimals as floats: the row itself has no more than 15 digits")
    if value == 2**64 - 1 and connection.vendor == "sqlite":
        pytest.skip("SQLite's integers end at 2**63 - 1")
    row = Typed.objects.create(id=SOME_UUID, **{name: value})
    document = stored(mongo)
    assert as_bson(document[name]) == as_bson(value if expected is None else expected)
    row.refresh_from_db()
    back = from_document(Typed, document)
    for field in Typed._meta.concrete_fields:
        assert getattr(back, field.attname) == getattr(row, field.attname), field.name
    assert verify(Target(Typed)).mismatches == []


@pytest.mark.parametrize("text", ["1.5", "NaN", "sNaN", "Infinity", "-Infinity", "-1", "1E+6000"])
def test_a_decimal_that_is_no_unsigned_number_is_refused_with_the_reason(text: str) -> None:
    document = {"_id": SOME_UUID, "text": "", "unsigned": Decimal128(text)}
    with pytest.raises(MappingError, match=r"^unsigned: "):
        from_document(Typed, document)


def test_microseconds_are_kept_beside_the_date(mongo: Database) -> None:
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)
    Typed.objects.create(id=SOME_UUID, moment=moment)
    document = stored(mongo)
    assert document["moment"] == moment.replace(microsecond=678000)
    assert document["_sync"]["us"] == {"moment": 901}
    assert from_document(Typed, document).moment == moment
    assert verify(Target(Typed)).mismatches == []


def test_null_is_absent(mongo: Database) -> None:
    Typed.objects.create(id=SOME_UUID)
    assert set(stored(mongo)) == {"_id", "text", "_sync"}


REFUSED: list[tuple[str, Any, str]] = [
    ("positive_big", 2**64 - 1, "64-bit"),
    ("json", {"n": 2**64}, "64-bit"),
    ("json", {"$where": 1}, "starts with"),
    ("json", {"a": ["\ud800"]}, "lone surrogate"),
    ("json", {"a\0b": 1}, "NUL"),
]


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED, ids=lambda value: ascii(value)[:20])
def test_a_value_that_bson_would_alter_is_refused_with_the_reason(name: str, value: Any, reason: str) -> None:
    with pytest.raises(MappingError, match=reason) as error:
        to_document(Typed(id=SOME_UUID, **{name: value}))
    assert str(error.value).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"when": datetime.datetime(2024, 1, 1, 0, 0, 0, 1, UTC)}, "microseconds"),
        ({1: 2}, "not text"),
        ({"$where": 1}, "starts with"),
        (["\ud800"], "lone surrogate"),
        ([2**64], "64-bit"),
    ],
    ids=ascii,
)
def test_a_document_field_with_a_value_that_bson_would_alter_is_not_saved(value: Any, reason: str, mongo: Any) -> None:
    with pytest.raises(ValueError, match=reason):
        Typed.objects.create(id=SOME_UUID, document=value)
    assert not Typed.objects.exists()


@pytest.mark.parametrize(
    "document",
    [{"_sync": 5}, {"_sync": {"us": 1}}, {"_id": 5}, {"text": 1}, {"moment": "x", "_sync": {"us": {"moment": "x"}}}],
)
def test_a_document_that_cannot_become_a_row_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(MappingError):
        from_document(Typed, document)


def test_a_number_of_a_custom_type_is_mapped_fast() -> None:
    """For example of IntegerChoices: for such a number, Python would search a `range` linearly."""

    class Size(models.IntegerChoices):
        LARGE = 2**30

    before = time.process_time()
    document = to_document(Typed(id=SOME_UUID, integer=Size.LARGE, big=Size.LARGE))
    assert time.process_time() - before < 1
    assert (document["integer"], document["big"]) == (2**30, Int64(2**30))
    with pytest.raises(MappingError, match="does not fit int32"):
        to_document(Typed(id=SOME_UUID, integer=1.5))


def test_documents_keep_the_order_of_their_fields(mongo: Database) -> None:
    document = {"zebra": 1, "a": {"b": 1, "aa": 2, "": 3}, "mm": []}
    Typed.objects.create(id=SOME_UUID, document=document)
    assert list(stored(mongo)["document"]) == ["zebra", "a", "mm"]
    assert list(Typed.objects.get().document["a"]) == ["b", "aa", ""]
