"""Every column type of a Django project, at its extremes and with the invalid values that a lax server accepts.

SQL writes each value, so that no converter of Django takes part. Afterwards the document holds exactly that value, or
the row is a dead letter that names the column and the reason; no document holds any other value. `verify --strict`
agrees.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId
from django.db import connection, transaction
from pymongo.database import Database

from sync.mapping.registry import Target
from sync.outbox.capture import record
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.exact import CODEC, as_bson
from sync.tests.support.lax import lax
from sync.tests.zoo.models import Legacy
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]
UTC = datetime.UTC
KEY = "5ca4bbc7a2dd94ee5816238c"
SOME_UUID = uuid.UUID("0123456789ab4def8123456789abcd00")


class Absent:
    """The document does not have the field."""


class Case(NamedTuple):
    column: str
    sql: str  # the value in SQL
    expected: Any = None  # the document's value
    refused: str = ""  # or a part of the dead letter's error
    micros: int = 0
    only: str = ""  # mariadb or mysql, if only it has the value or the type


def moment(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


CASES = [
    Case("tiny", "-128", -128),
    Case("tiny_unsigned", "255", 255),
    Case("flag", "0", False),
    Case("flag", "1", True),
    Case("flag", "2", refused="flag: 2 is not true or false"),
    Case("flag", "-1", refused="flag: -1 is not"),
    Case("flag", "127", refused="flag: 127 is not"),
    Case("flag_bit", "b'0'", refused="flag_bit: b'\\x00' is not true or false"),
    Case("flag_bit", "b'1'", refused="flag_bit: b'\\x01' is not true or false"),
    Case("small", "-32768", -32768),
    Case("medium", "8388607", 8388607),
    Case("whole", "-2147483648", -(2**31)),
    Case("whole_unsigned", "4294967295", Int64(2**32 - 1)),
    Case("narrow", "2147483648", refused="narrow: 2147483648 does not fit int32"),
    Case("big", "-9223372036854775808", Int64(-(2**63))),
    Case("big_unsigned", "9223372036854775807", Int64(2**63 - 1)),
    Case("big_unsigned", "18446744073709551615", refused="big_unsigned: 18446744073709551615 does not fit"),
    Case("exact", "'1234.000000000000000000000000000000'", Decimal128("1234.000000000000000000000000000000")),
    Case("exact", "'12345678901234567890123456789012345.5'", refused="exact: 12345678901234567890123456789012345.5"),
    Case("exact", "'-0.000000000000000000000000000001'", Decimal128("-1E-30")),
    Case("price", "'-99999999.9999'", Decimal128("-99999999.9999")),
    Case("price", "0.1", Decimal128("0.1000")),
    Case("price_double", "0.1", refused="price_double: 0.1 is not a decimal"),
    Case("single", "16777217", 16777216.0),
    Case("single", "0.1", 0.10000000149011612),
    Case("single", "3.4028234e38", 3.4028234663852886e38),
    Case("double", "1.7976931348623157e308", 1.7976931348623157e308),
    Case("double", "5e-324", 5e-324),
    Case("double", "'-0.0'", -0.0, only="mysql"),  # MariaDB stores 0
    Case("double", "0.1e0 + 0.2e0", 0.30000000000000004),
    Case("bits", "b'10100101'", refused="bits: b'\\xa5' is not text"),
    Case("day", "'1000-01-01'", moment(1000, 1, 1)),
    Case("day", "'0001-01-01'", moment(1, 1, 1)),
    Case("day", "'9999-12-31'", moment(9999, 12, 31)),
    Case("day", "'0000-00-00'", refused="day: '0000-00-00' is not a valid date"),
    Case("day", "'2024-02-31'", refused="day: '2024-02-31' is not a valid date"),
    Case("day", "'2024-00-10'", refused="day: '2024-00-10' is not a valid date"),
    Case("day_of_moment", "'2024-01-02 03:04:05'", refused="day_of_moment: "),
    Case("moment", "'2024-01-02 03:04:05.678901'", moment(2024, 1, 2, 3, 4, 5, 678000), micros=901),
    Case("moment", "'9999-12-31 23:59:59.999999'", moment(9999, 12, 31, 23, 59, 59, 999000), micros=999),
    Case("moment", "'0001-01-01 00:00:00'", moment(1, 1, 1)),
    Case("moment", "'0000-00-00 00:00:00'", refused="'0000-00-00 00:00:00.000000' is not a valid date and time"),
    Case("moment", "'2023-02-29 12:00:00'", refused="moment: '2023-02-29 12:00:00.000000' is not a valid"),
    Case("moment_whole", "'1969-12-31 23:59:59'", moment(1969, 12, 31, 23, 59, 59)),
    Case("moment_whole", "'0000-00-00'", refused="moment_whole: '0000-00-00 00:00:00' is not a valid"),
    Case("moment_of_day", "'2024-01-02'", refused="moment_of_day: "),
    Case("stamp", "'2024-01-02 03:04:05.000001'", moment(2024, 1, 2, 3, 4, 5), micros=1),
    Case("stamp", "'0000-00-00'", refused="stamp: '0000-00-00 00:00:00.000000' is not a valid"),
    Case("clock", "'23:59:59.999999'", "23:59:59.999999"),
    Case("clock", "'00:00:00'", "00:00:00"),
    Case("clock", "'-00:30:00.5'", refused="clock: '-00:30:00.500000' is not a time of day"),
    Case("clock", "'838:59:59'", refused="clock: '838:59:59.000000' is not a time of day"),
    Case("clock", "'24:00:00'", refused="clock: '24:00:00.000000' is not a time of day"),
    Case("clock", "'-838:59:59'", refused="clock: '-838:59:59.000000' is not a time of day"),
    Case("span", "-9223372036854775808", Int64(-(2**63))),
    Case("year", "0", 0),
    Case("year", "2155", 2155),
    Case("fixed", "'a   '", "a"),
    Case("fixed", "' a'", " a"),
    Case("latin", "'caf\N{LATIN SMALL LETTER E WITH ACUTE}'", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
    Case("text", "'trailing  '", "trailing  "),
    Case("text", "''", ""),
    Case("text", "CONCAT('nul', CHAR(0 USING utf8mb4), 'byte')", "nul\0byte"),
    Case("text", "'\N{GRINNING FACE}\N{COMBINING ACUTE ACCENT}'", "\N{GRINNING FACE}\N{COMBINING ACUTE ACCENT}"),
    Case("text", "CONCAT('a', CHAR(13, 10 USING utf8mb4), 'b')", "a\r\nb"),
    Case("text_binary", "X'ff00'", refused="text_binary: b'\\xff\\x00' is not text"),
    Case("choice", "'b'", "b"),
    Case("choice", "'unknown'", ""),
    Case("several", "'c,a'", "a,c"),
    Case("text_of_number", "7", refused="text_of_number: 7 is not text"),
    Case("raw", "X'0001ff00'", b"\0\1\xff\0"),
    Case("raw", "''", b""),
    Case("raw_fixed", "X'01'", b"\1\0\0\0"),
    Case("code", f"'{SOME_UUID}'", Binary.from_uuid(SOME_UUID)),
    Case("code", "'none at all'", refused="code: badly formed hexadecimal UUID string"),
    Case("native", f"'{SOME_UUID}'", Binary.from_uuid(SOME_UUID), only="mariadb"),
    Case("native", f"'{SOME_UUID.hex}'", Binary.from_uuid(SOME_UUID)),
    Case("address", "'2001:db8::1'", "2001:db8::1"),
    Case("data", "'null'", None),
    Case("data", "NULL", Absent),
    Case("data", "'[1, 2.5, \"x\", null, {\"a\": true}]'", [1, 2.5, "x", None, {"a": True}]),
    Case("data", "'{}'", {}),
    Case("data", "'9007199254740993'", Int64(9007199254740993)),
    Case("data", "'18446744073709551615'", refused="data: 18446744073709551615 does not fit"),
    Case("data", "JSON_OBJECT('d', CAST(0.1 AS DECIMAL(10,5)))", {"d": 0.1}),
    Case("data_text", "'1e400'", refused="data_text: the number '1e400' does not fit a double exactly"),
    Case("data_text", "'1e-400'", refused="data_text: the number '1e-400' does not fit a double exactly"),
    Case("data_text", "'1.00000000000000000001'", refused="data_text: the number '1.00000000000000000001' does"),
    Case("data_text", "'[1.10, 1E2, -0.0]'", [1.1, 100.0, -0.0]),
    Case("data_text", "'-0'", refused="data_text: -0 is not a whole number"),
    Case("data_text", "'NaN'", refused="data_text: NaN is not JSON"),
    Case("data_text", "'[Infinity]'", refused="data_text: Infinity is not JSON"),
    Case("data_text", "'{\"a\": 1, \"a\": 2}'", refused="data_text: an object has the name 'a' twice"),
    Case("data_text", "'[broken'", refused="data_text: '[broken' is not JSON"),
    Case("data_text", "''", refused="data_text: '' is not JSON"),
    Case("document", """'{"$undefined": true}'""", refused="document: {'$undefined': True} cannot be stored exactly"),
    Case("document", """'{"$symbol": "x"}'""", refused="document: {'$symbol': 'x'} cannot be stored"),
    Case("document", """'{"$numberInt": "2147483648"}'""", refused="document: {'$numberInt': '2147483648'} cannot"),
    Case("document", """'{"$binary": {"base64": "AA!A=", "subType": "00"}}'""", refused="document: "),
    Case("document", """'{"$regularExpression": {"pattern": "a", "options": "iz"}}'""", refused="document: "),
    Case("document", """'{"$regex": "a", "$options": "i"}'""", bson.Regex("a", "i")),
    Case("document", """'{"$binary": {"base64": "AAE=", "subType": "00"}}'""", b"\0\1"),
    Case("data_text", "'null'", None),
    Case("data_text", "'\"\\\\ud800\"'", refused="has a lone surrogate"),
    Case("data_text", "CONCAT(REPEAT('[', 100000), REPEAT(']', 100000))", refused="nested too deeply"),
    Case("data_text", "CONCAT(REPEAT('[', 251), REPEAT(']', 251))", refused="nested too deeply: 251 levels"),
    Case("document", "'[broken'", refused="document: '[broken' is not JSON"),
    Case("document", "'null'", None),
    Case("document", "'{\"$numberLong\": \"5\"}'", Int64(5)),
    Case("document", "'{\"z\": 1, \"a\": {\"$numberDecimal\": \"1.10\"}}'", {"z": 1, "a": Decimal128("1.10")}),
    Case("document", "'[{\"at\": {\"$date\": {\"$numberLong\": \"1700000000000\"}}}]'",
         [{"at": moment(2023, 11, 14, 22, 13, 20)}]),
    Case("document", "'[{\"$oid\": \"5ca4bbc7a2dd94ee5816238c\"}]'", [ObjectId("5ca4bbc7a2dd94ee5816238c")]),
    Case("document", "'{\"$date\": \"2024-01-01T00:00:00.123Z\"}'", moment(2024, 1, 1, 0, 0, 0, 123000)),
    Case("document", "'{\"$binary\": {\"base64\": \"AAEC\", \"subType\": \"80\"}}'", Binary(b"\0\1\2", 128)),
    Case("document", "'{\"$code\": \"f()\", \"$scope\": {\"x\": {\"$numberLong\": \"1\"}}}'",
         Code("f()", {"x": Int64(1)})),
    Case("document", "'{\"$numberDecimal\": \"12345678901234567890123456789012345\"}'", refused="document: "),
    Case("document", "'{\"$numberDouble\": \"1.00000000000000000001\"}'", refused="does not fit a double exactly"),
    Case("document", "'{\"$date\": \"2024-01-01T00:00:00.123456Z\"}'", refused="microseconds"),
    Case("document", "'{\"$date\": \"soon\"}'", refused="document: "),
    Case("document", "'{\"$where\": 1}'", refused="document: the key '$where'"),
    Case("document", "'1e400'", refused="document: the number '1e400' does not fit"),
    Case("document", "'{\"a\": 1, \"a\": 2}'", refused="document: an object has the name 'a' twice"),
    Case("document", "'[1e2, 0.1]'", [100.0, 0.1]),
]  # fmt: skip
# What SQLite accepts as well: it types values, not columns.
ON_SQLITE = [
    Case("flag", "2", refused="flag: 2 is not true or false"),
    Case("flag", "'yes'", refused="flag: 'yes' is not"),
    Case("whole", "'many'", refused="whole: 'many' is not a whole number"),
    Case("whole", "1.5", refused="whole: 1.5 is not a whole number"),
    Case("price", "1.00001", refused="price: 1.00001 has more than 4 decimal places"),
    Case("price", "0.1", Decimal128("0.1000")),
    Case("price", "'dear'", refused="price: 'dear' is not a number"),
    Case("double", "'deep'", refused="double: 'deep' is not a double"),
    Case("day", "'2024-02-31'", refused="day: '2024-02-31' is not a valid date"),
    Case("day", "20240101", refused="day: 20240101 is not a valid date"),
    Case("moment", "'2024-01-02 03:04:05.678901'", moment(2024, 1, 2, 3, 4, 5, 678000), micros=901),
    Case("moment", "'2024-01-02 03:04:05.6789012'", refused="moment: '2024-01-02 03:04:05.6789012' is not a valid"),
    Case("moment", "'yesterday'", refused="moment: 'yesterday' is not a valid"),
    Case("clock", "'-00:30:00.5'", refused="clock: '-00:30:00.5' is not a valid time"),
    Case("text", "X'ff00'", refused="text: b'\\xff\\x00' is not text"),
    Case("text", "CAST(X'61ff' AS TEXT)", refused="text: b'a\\xff' is not UTF-8"),
    Case("raw", "'text'", refused="raw: 'text' is not binary"),
    Case("data", "'1e400'", refused="data: the number '1e400' does not fit"),
    Case("data", "'null'", None),
]


@pytest.fixture
def lax_session() -> Iterator[None]:
    """A session that accepts what a strict session rejects."""
    with lax():
        yield


def exists_here(case: Case) -> bool:
    here: Any = connection
    return not case.only or case.only == ("mariadb" if here.mysql_is_mariadb else "mysql")


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=lambda number: f"{CASES[number].column}-{CASES[number].sql}"[:50]
)
def test_a_column_is_delivered_exactly_or_is_a_dead_letter(number: int, lax_session: None, mongo: Database) -> None:
    if connection.vendor != "mysql":
        pytest.skip("SQLite has its own cases")
    if not exists_here(CASES[number]):
        pytest.skip("the type does not exist here")
    _try(CASES[number], mongo)


@pytest.mark.parametrize("case", ON_SQLITE, ids=lambda case: f"{case.column}-{case.sql}")
def test_sqlite_types_values_and_not_columns(case: Case, lax_session: None, mongo: Database) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only on SQLite")
    _try(case, mongo)


def _try(case: Case, mongo: Database) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO zoo_legacy (id, `{case.column}`) VALUES ('{KEY}', {case.sql.replace('%', '%%')})")
        record(Legacy, [KEY], inline=False)
    relay = Relay()
    relay.drain()
    document = mongo.get_collection("zoo_legacy", codec_options=CODEC).find_one()
    found = verify(Target(Legacy), strict=True).mismatches
    if case.refused:
        [change] = Change.objects.filter(key=KEY)
        assert case.refused in change.error
        assert document is None
        assert [difference.kind for difference in found] == ["unmappable"]
        assert case.refused in found[0].fields[0]["path"]
        return
    assert not Change.objects.filter(key=KEY).exists(), Change.objects.get(key=KEY).error
    if case.expected is Absent:
        assert case.column not in document
    else:
        assert as_bson(document[case.column]) == as_bson(case.expected), document[case.column]
    assert document["_sync"].get("us", {}).get(case.column, 0) == case.micros
    assert found == []
