"""Only the record that cannot be loaded is rejected. The report has its line and the reason."""

from unittest import mock

import pytest
from bson import Decimal128, Int64
from django.db import DataError

from finance.models import Account
from finance.tests.files import account, load, to_line, write

pytestmark = [pytest.mark.django_db, pytest.mark.engine]
OID = '"_id":{"$oid":"5ca4bbc7a2dd94ee5816238c"}'
REST = '"account_id":1,"limit":1,"products":[]'
BAD = {
    "broken JSON": (f"{{{OID},{REST}", "broken JSON: Expecting ',' delimiter, at character 82"),
    "no JSON at all": ("hello", "broken JSON: Expecting value, at character 1"),
    "not a document": ('"text"', "not a document but str"),
    "missing field": (f'{{{OID},"account_id":1,"limit":1}}', "products: missing"),
    "missing _id": (f"{{{REST}}}", "_id: missing"),
    "null": (f'{{{OID},"account_id":1,"limit":null,"products":[]}}', "limit: null"),
    "wrong type": (f'{{{OID},"account_id":1,"limit":"9","products":[]}}', "limit: string where int32 is expected"),
    "bool for int32": (f'{{{OID},"account_id":true,"limit":1,"products":[]}}', "account_id: bool where int32"),
    "double for int32": (f'{{{OID},"account_id":1.0,"limit":1,"products":[]}}', "account_id: double where int32"),
    "int64 for int32": (to_line(account(limit=Int64(9))), "limit: int64 where int32 is expected"),
    "decimal for int32": (to_line(account(limit=Decimal128("9"))), "limit: decimal where int32 is expected"),
    "beyond int32": (f'{{{OID},"account_id":1,"limit":2147483648,"products":[]}}', "limit: int64 where int32"),
    "beyond int64": (f'{{{OID},{REST},"x":9223372036854775808}}', "MongoDB can only handle up to 8-byte ints"),
    "bad ObjectId": (f'{{"_id":{{"$oid":"xyz"}},{REST}}}', "'xyz' is not a valid ObjectId"),
    "_id of another type": (f'{{"_id":7,{REST}}}', "_id: int32 where objectId is expected"),
    "wrong array": (f'{{{OID},"account_id":1,"limit":1,"products":[1]}}', "products: Enter an array of names."),
    "lone surrogate": (rf'{{{OID},{REST},"x":"\ud800"}}', "surrogates not allowed"),
    "dollar key": (f'{{{OID},{REST},"$where":1}}', "starts with '$'"),
    "inner dollar key": (f'{{{OID},{REST},"x":{{"a":1,"$b":1}}}}', "starts with '$'"),
    "key twice": (f'{{{OID},{REST},"limit":2}}', "an object has the name 'limit' twice"),
    "bad number": (f'{{{OID},{REST},"x":{{"$numberInt":"one"}}}}', "invalid literal for int()"),
    "number past every double": (f'{{{OID},{REST},"x":1e400}}', "the number '1e400' does not fit a double exactly"),
    "number with too many digits": (f'{{{OID},{REST},"x":1.00000000000000000001}}', "does not fit a double exactly"),
    "infinity without a type": (f'{{{OID},{REST},"x":Infinity}}', "Infinity is not JSON"),
    "minus zero as a whole number": (f'{{{OID},{REST},"x":-0}}', "-0 is not a whole number"),
    "too deep": (f'{{{OID},{REST},"x":{"[" * 101}{"]" * 101}}}', "nested deeper than 100 levels"),
    "far too deep": (f'{{{OID},{REST},"x":{"[" * 100_000}{"]" * 100_000}}}', "nested deeper than 100 levels"),
    "too long a document": (f'{{{OID},{REST},"x":"{"x" * (16 << 20)}"}}', "bytes of BSON; MongoDB's limit is 16 MiB"),
    "mirror's own field": (f'{{{OID},{REST},"_sync":5}}', ""),
}
CUSTOMER_REST = '"name":"A","address":"","email":"","accounts":[1],"tier_and_details":{}'
BAD_CUSTOMERS = {
    "too long": ("u" * 151, "0", "username: Ensure this value has at most 150 characters (it has 151)."),
    "year 10000": ("anna", "253402300800000", "birthdate: date out of range"),
    "year 0": ("anna", "-62135596800001", "birthdate: date out of range"),
    "beyond every date": ("anna", "9223372036854775808", ""),
}


def check(tmp_path, text, reason, good, model="account"):
    counts, rejects = load(write(tmp_path / "x.json", f"{text}\n{good}\n"), model)
    assert counts == {"rejected": 1, "created": 1}
    assert (rejects[0]["line"], rejects[0]["text"]) == (1, text)
    assert reason in rejects[0]["reason"]
    assert rejects[0]["file"] == str(tmp_path / "x.json")


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=BAD)
def test_it_reports_why_an_account_is_rejected_and_loads_the_next(tmp_path, text, reason):
    check(tmp_path, text, reason, to_line(account(2)))


@pytest.mark.parametrize(("username", "born", "reason"), BAD_CUSTOMERS.values(), ids=BAD_CUSTOMERS)
def test_it_reports_why_a_customer_is_rejected_and_loads_the_next(tmp_path, username, born, reason):
    def line(number, username, born):
        return (
            f'{{"_id":{{"$oid":"{number:024x}"}},"username":"{username}",'
            f'"birthdate":{{"$date":{{"$numberLong":"{born}"}}}},{CUSTOMER_REST}}}'
        )

    check(tmp_path, line(1, username, born), reason, line(2, "bert", "-1"), "customer")


@pytest.mark.parametrize(
    ("trade", "reason"),
    [
        ('{"amount":1.5}', "Trade 0: amount has the wrong type."),
        ('{"date":"today"}', "Trade 0: date has the wrong type."),
        ('{"price":"a lot"}', "Trade 0: price has the wrong type."),
        ('{"total":"NaN"}', "Trade 0: total has the wrong type."),
        ("7", "Enter an array of trades."),
    ],
)
def test_it_rejects_trades_that_cannot_be_displayed(tmp_path, trade, reason):
    def line(number, trades):
        return (
            f'{{"_id":{{"$oid":"{number:024x}"}},"account_id":1,"transaction_count":1,'
            f'"bucket_start_date":{{"$date":"2001-01-01T00:00:00Z"}},"bucket_end_date":{{"$date":"2001-01-01T00:00:00Z"}},'
            f'"transactions":[{trades}]}}'
        )

    check(tmp_path, line(1, trade), reason, line(2, ""), "transaction")


def test_it_loads_the_first_of_two_records_with_one_id(tmp_path):
    path = write(tmp_path / "x.json", f"{to_line(account(1))}\n{to_line(account(1, limit=5))}")
    counts, rejects = load(path)
    assert counts == {"created": 1, "rejected": 1}
    assert rejects[0]["reason"].startswith("_id: 000000000000000000000001 occurs twice in this file")
    assert Account.objects.get().limit == 9000


def test_it_rejects_only_the_document_that_is_not_utf8(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(
        to_line(account(1, note="?")).encode().replace(b"?", b"\xff") + b"\n" + to_line(account(2)).encode()
    )
    counts, rejects = load(path)
    assert counts == {"created": 1, "rejected": 1}
    assert rejects[0]["reason"] == "not UTF-8"


def test_it_rejects_only_the_row_that_the_database_refuses(tmp_path):
    path = write(tmp_path / "x.json", "\n".join(to_line(account(number)) for number in range(1, 11)))
    bulk_create = type(Account.objects.all()).bulk_create

    def refuse_the_seventh(self, rows, *args, **options):
        if any(row.account_id == 7 for row in rows):
            raise DataError(1406, "Data too long")
        return bulk_create(self, rows, *args, **options)

    with mock.patch.object(type(Account.objects.all()), "bulk_create", refuse_the_seventh):
        counts, rejects = load(path)
    assert counts == {"created": 9, "rejected": 1}
    assert rejects[0]["line"] == 7
    assert "the database rejects it" in rejects[0]["reason"]


@pytest.mark.django_db(transaction=True)  # the server may close the connection and roll back an outer transaction
def test_a_row_too_long_for_a_statement_does_not_stop_the_import(tmp_path):
    long = to_line(account(1, note="é" * (7 << 20)))  # about 44 MB when escaped
    counts, _ = load(write(tmp_path / "x.json", f"{long}\n{to_line(account(2))}"))
    assert counts in ({"created": 1, "rejected": 1}, {"created": 2})  # depends on max_allowed_packet
    assert Account.objects.filter(account_id=2).exists()
