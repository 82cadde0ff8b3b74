"""Published documents are the text that BSON's own library writes, so that any consumer can read them."""

import datetime
import enum
import re
import uuid
from typing import Any

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode, json_util
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from bson.son import SON

from sync.mapping.extended_json import DOCUMENTS, canonical_json

pytestmark = pytest.mark.quick


class Level(enum.IntEnum):
    HIGH = 3


VALUES: list[Any] = [
    "text", "ä\n\"\\\ud800", "", True, False, None, 0, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63, Level.HIGH,
    Int64(5), 1.5, -0.0, 1e300, float("nan"), float("inf"), Decimal128("1.10"), ObjectId("65a000000000000000000001"),
    b"bytes", Binary(b"bytes", 5), uuid.UUID(int=7), datetime.datetime(2024, 2, 29, 12, 0, 0, 1000, datetime.UTC),
    datetime.datetime(1960, 1, 1), DatetimeMS(2**60), Regex("^a", "i"), re.compile("b"), Timestamp(1, 2), MinKey(),
    MaxKey(), Code("f()"), Code("f()", {"n": 1}), DBRef("others", 1), (1, "two"), SON(a=1, b=[2]),
    RawBSONDocument(encode({"a": 1})), {}, [], {"a": [{"b": (1, {"c": 2})}]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_it_is_the_text_of_bsons_library(value: Any) -> None:
    document = {"_id": 1, "value": value, "values": [value, {"inner": value}]}
    assert canonical_json(document) == json_util.dumps(document, json_options=DOCUMENTS)


def test_a_value_that_bson_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical_json({"value": datetime.date(2024, 2, 29)})
