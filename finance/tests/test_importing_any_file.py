"""`import_dataset` detects the type of each file first. It refuses files that it cannot read and says what to do."""

import bz2
import gzip
import io
import json
import lzma
import os
import sqlite3
import struct
import tarfile
import time
import tracemalloc
import zipfile
from contextlib import suppress

import bson
import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId
from django.core.management import CommandError, call_command
from django.db import connection

from finance.models import Account
from finance.reading import Reader
from finance.recognising import NothingToImport, recognise
from finance.tests.damage import lax
from finance.tests.files import account, to_line

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]

LINES = "\n".join(to_line(account(number, note="é\U0001f600")) for number in (1, 2, 3)) + "\n"
ARRAY = "[" + ",\n".join(LINES.splitlines()) + "]"
PRETTY = json.dumps([json.loads(line) for line in LINES.splitlines()], indent=2, ensure_ascii=False)
BSON = b"".join(bson.encode(account(number, note="é")) for number in (1, 2, 3))


def run(*paths):
    """The exit status and all lines of output."""
    out = io.StringIO()
    try:
        call_command("import_dataset", *map(str, paths), stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue().splitlines() + str(error).splitlines()
    return 0, out.getvalue().splitlines()


READ = {
    "UTF-8 with a mark": (b"\xef\xbb\xbf" + LINES.encode(), ""),
    "UTF-16 little-endian": (LINES.encode("utf-16"), "JSON in UTF-16"),
    "UTF-16 big-endian": (b"\xfe\xff" + LINES.encode("utf-16-be"), "JSON in UTF-16"),
    "UTF-16 without a mark": (LINES.encode("utf-16-le"), "JSON in UTF-16"),
    "UTF-16 without a mark, after a blank line": (f"\n{LINES}".encode("utf-16-be"), "JSON in UTF-16"),
    "UTF-32": (LINES.encode("utf-32"), "JSON in UTF-32"),
    "UTF-32 without a mark": (LINES.encode("utf-32-le"), "JSON in UTF-32"),
    "UTF-32 big-endian without a mark": (LINES.encode("utf-32-be"), "JSON in UTF-32"),
    "UTF-16 array": (ARRAY.encode("utf-16"), "JSON in UTF-16"),
    "UTF-16 with CRLF": (LINES.replace("\n", "\r\n").encode("utf-16"), "JSON in UTF-16"),
    "array": (ARRAY.encode(), ""),
    "pretty array": (PRETTY.encode(), ""),
    "BSON": (BSON, "BSON"),
    "gzip": (gzip.compress(LINES.encode()), "compressed by gzip, though"),
    "gzip of UTF-16": (gzip.compress(LINES.encode("utf-16")), "JSON in UTF-16; compressed by gzip"),
    "gzip of BSON": (gzip.compress(BSON), "BSON, as mongodump writes it; compressed by gzip"),
    "gzip in two parts": (gzip.compress(LINES[:50].encode()) + gzip.compress(LINES[50:].encode()), "compressed by"),
}


@pytest.mark.parametrize(("data", "first"), READ.values(), ids=READ)
@pytest.mark.parametrize("name", ["accounts.json", "accounts.dat"])
def test_it_detects_the_format_regardless_of_the_file_name(tmp_path, data, first, name):
    (tmp_path / name).write_bytes(data)
    status, lines = run(tmp_path / name)
    assert status == 0, lines
    assert Account.objects.count() == 3
    assert (first in lines[0]) if first else "created" in lines[0]
    assert Account.objects.get(account_id=2).extra["note"].startswith("é")


def workbook():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("accounts.json", LINES)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("accounts.json"))
    return file.getvalue()


def database(tmp_path):
    with sqlite3.connect(tmp_path / "made") as made:
        made.execute("CREATE TABLE a (b)")
    made.close()
    return (tmp_path / "made").read_bytes()


CSV = '_id,account_id,limit,products\nObjectId(5ca4bbc7a2dd94ee5816238c),1,2,"[""Brokerage""]"\n'
OLD_SHELL = '{ "_id" : ObjectId("5ca4bbc7a2dd94ee5816238c"), "account_id" : NumberInt(1) }'
REFUSED = {
    "TSV in UTF-16 without a mark": (CSV.replace(",", "\t").encode("utf-16-le"), "TSV"),
    "gzip of gzip": (gzip.compress(gzip.compress(LINES.encode())), "compressed by gzip twice"),
    "SQL with JSON in it": (b"-- MySQL dump 10.13\nINSERT INTO a VALUES ('\n{\"a\": 1}\n');\n", "a dump of SQL"),
    "HTML with braces": (b"<html><style>\n{a: 1}\n</style></html>", "XML or HTML"),
    "the older shell": (OLD_SHELL.encode(), "what mongosh prints"),
    "mongosh, another field first": (b"[ { account_id: 1, _id: ObjectId('5ca4bbc7a2dd94ee5816238c') } ]", "mongosh"),
    "mongosh, quoted keys": (b"[\n  { '_id': 1 }\n]", "what mongosh prints"),
    "CSV": (CSV.encode(), "CSV, which has no types"),
    "CSV with semicolons": (CSV.replace(",", ";").encode(), "CSV"),
    "CSV in UTF-16": (CSV.encode("utf-16"), "CSV"),
    "gzipped CSV": (gzip.compress(CSV.encode()), "CSV"),
    "TSV": (CSV.replace(",", "\t").encode(), "TSV"),
    "ZIP": (zipped(), "a ZIP archive"),
    "Excel": (workbook(), "an Excel workbook"),
    "tar": (tarred(), "a tar archive"),
    "gzipped tar": (gzip.compress(tarred()), "a tar archive"),
    "bzip2": (bz2.compress(LINES.encode()), "compressed by bzip2"),
    "xz": (lzma.compress(LINES.encode()), "compressed by xz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x24\x00", "compressed by zstd"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a 7-Zip archive"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\n{", "a PDF document"),
    "archive of mongodump": (struct.pack("<I", 0x8199E26D) + BSON, "an archive of mongodump"),
    "SQL": (b"-- MySQL dump 10.13\nINSERT INTO a VALUES (1);\n", "a dump of SQL"),
    "HTML": (b"<!DOCTYPE html><p>Sign in</p>", "XML or HTML"),
    "mongosh": (b"[\n  {\n    _id: ObjectId('5ca4bbc7a2dd94ee5816238c')\n  }\n]", "what mongosh prints"),
    "noise": (bytes(range(256)) * 40, "a binary file"),
    "prose": (b"Dear colleague\nplease find the accounts below\n", "text without a JSON document"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "what"), REFUSED.values(), ids=REFUSED)
def test_it_refuses_other_formats_with_a_one_line_explanation(tmp_path, data, what):
    path = tmp_path / "accounts.json"
    path.write_bytes(data)
    status, lines = run(path)
    assert (status, len(lines)) == (2, 1)
    assert what in lines[0]
    assert "mongoexport" in lines[0] or "import" in lines[0].split(". ", 1)[1]
    assert not (tmp_path / "rejects").exists()


@pytest.mark.parametrize("length", [91, 123, 0x1007B])
def test_the_length_of_a_bson_document_is_not_mistaken_for_utf_16(tmp_path, length):
    """A BSON document starts with its length. A length of 123 looks like `{` in UTF-16."""
    shortest = len(bson.encode(account(1, n="")))
    (tmp_path / "accounts.bson").write_bytes(bson.encode(account(1, n="x" * (length - shortest))) + BSON[-94:])
    assert (tmp_path / "accounts.bson").read_bytes()[0] in b"[{"
    status, lines = run(tmp_path / "accounts.bson")
    assert (status, lines[0]) == (0, "accounts.bson: BSON, as mongodump writes it")


def test_a_broken_line_after_a_valid_one_does_not_refuse_the_file(tmp_path):
    (tmp_path / "accounts.json").write_text(f"{LINES}{{_id: 5}}\n{OLD_SHELL}\n")
    assert run(tmp_path / "accounts.json")[0] == 1
    assert Account.objects.count() == 3


@pytest.mark.parametrize("blank", [" ", "\n", "\t\n", "[\n", "{\n"])
@pytest.mark.parametrize("end", ["x", LINES])
def test_the_format_is_detected_quickly_for_any_beginning(tmp_path, blank, end):
    (tmp_path / "accounts.json").write_text(blank * 60_000 + end)
    began = time.process_time()
    with suppress(NothingToImport):
        recognise(tmp_path / "accounts.json")
    assert time.process_time() - began < 2


def test_the_rejects_file_cannot_overwrite_the_imported_file(tmp_path):
    path = tmp_path / "accounts.json"
    path.write_text(f"{LINES}{{broken\n")
    status, lines = run(tmp_path, f"--rejects={path}")
    assert (status, len(lines)) == (2, 1)
    assert "Name another file with --rejects" in lines[0]
    assert path.read_text() == f"{LINES}{{broken\n"


def test_it_refuses_a_database_file(tmp_path):
    (tmp_path / "accounts.json").write_bytes(database(tmp_path))
    assert "an SQLite database" in run(tmp_path / "accounts.json")[1][0]


def test_it_does_not_wait_for_a_pipe_or_a_device(tmp_path):
    os.mkfifo(tmp_path / "accounts.json")
    for path in (tmp_path / "accounts.json", "/dev/null"):
        status, lines = run(path, "--model=account")
        assert (status, len(lines)) == (2, 1)
        assert "is not a regular file" in lines[0]


def test_it_reports_an_empty_file(tmp_path):
    for data in (b"", b"\n \n", b"\xef\xbb\xbf", gzip.compress(b"")):
        (tmp_path / "accounts.json").write_bytes(data)
        status, lines = run(tmp_path / "accounts.json")
        assert status == 0
        assert "empty: it holds no document" in lines[0]


def test_it_loads_the_other_files_when_one_cannot_be_read(tmp_path):
    (tmp_path / "accounts.json").write_text(LINES)
    (tmp_path / "accounts-old.json").write_bytes(zipped())
    status, lines = run(tmp_path)
    assert status == 1
    assert "accounts-old.json is a ZIP archive" in lines[-1]
    assert Account.objects.count() == 3


def test_it_explains_how_to_convert_another_encoding_and_loads_the_rest(tmp_path):
    text = to_line(account(1)) + "\n" + to_line(account(2, note="Z")).replace("Z", "é") + "\n"
    (tmp_path / "accounts.json").write_bytes(text.encode("latin-1"))
    status, lines = run(tmp_path / "accounts.json", f"--rejects={tmp_path}/bad")
    assert status == 1
    assert "iconv -f WINDOWS-1252" in lines[0]
    assert Account.objects.count() == 1


# --- mongodump --------------------------------------------------------------------------------------------------------


def test_it_reads_a_mongodump_folder(tmp_path):
    folder = tmp_path / "dump" / "analytics"
    folder.mkdir(parents=True)
    (folder / "accounts.bson").write_bytes(BSON)
    (folder / "accounts.metadata.json").write_text('{"indexes": [], "collectionName": "accounts"}')
    (folder / "prelude.json").write_text("{}")
    for path in (tmp_path / "dump", folder):
        status, lines = run(path)
        assert status == 0, lines
        assert "accounts.bson: BSON" in lines[0]
        assert not any("metadata" in line for line in lines)
    assert Account.objects.count() == 3
    status, lines = run(folder / "accounts.metadata.json")
    assert status == 2
    assert "Import the .bson file beside it" in lines[0]


def test_it_reads_a_compressed_dump(tmp_path):
    (tmp_path / "accounts.bson.gz").write_bytes(gzip.compress(BSON))
    (tmp_path / "accounts.metadata.json.gz").write_bytes(gzip.compress(b"{}"))
    assert run(tmp_path)[0] == 0
    assert Account.objects.count() == 3


def test_it_asks_which_of_two_databases_to_import(tmp_path):
    for name in ("live", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "accounts.bson").write_bytes(BSON)
    status, lines = run(tmp_path)
    assert status == 2
    assert "(live, test): name one of them" in lines[0]
    assert not Account.objects.exists()


def test_documents_of_a_dump_keep_their_types(tmp_path):
    odd = {"long": Int64(5), "decimal": Decimal128("1.50"), "date": DatetimeMS(2**53), "bytes": b"\0\1", "z": -0.0}
    document = account(1, **odd, nested={"b": 1, "a": [ObjectId(), None, True]})
    (tmp_path / "accounts.bson").write_bytes(bson.encode(document))
    assert run(tmp_path)[0] == 0
    kept = Account.objects.get().to_document()
    assert bson.encode(kept) == bson.encode({name: document[name] for name in kept})
    assert set(kept) == set(document)


def test_only_the_broken_document_of_a_dump_is_rejected(tmp_path):
    first, second, third = (bytearray(bson.encode(account(number))) for number in (1, 2, 3))
    second[second.index(b"Brokerage")] = 0xFF  # not UTF-8
    twice = bson.encode(account(4, limit_=5)).replace(b"limit_\0", b"limit\0\0", 1)
    (tmp_path / "accounts.bson").write_bytes(bytes(first) + bytes(second) + bytes(third) + twice)
    status, lines = run(tmp_path, f"--rejects={tmp_path}/bad")
    assert status == 1
    rejects = [json.loads(line) for line in (tmp_path / "bad").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [2, 4]
    assert "broken BSON" in rejects[0]["reason"]
    assert Account.objects.count() == 2, lines


@pytest.mark.parametrize("cut", [1, 3, 40])
def test_it_reports_where_a_dump_is_truncated(tmp_path, cut):
    for name, data in (("accounts.bson", BSON[:-cut]), ("accounts.bson.gz", gzip.compress(BSON)[:-cut])):
        (tmp_path / name).write_bytes(data)
        *pieces, last = Reader(tmp_path / name)
        assert "the file is damaged from here on" in last.problem
        assert len(pieces) <= 3


def test_it_reports_where_utf_16_text_is_truncated(tmp_path):
    (tmp_path / "accounts.json").write_bytes(LINES.encode("utf-16")[:-1])
    *pieces, last = Reader(tmp_path / "accounts.json")
    assert "the file is damaged from here on" in last.problem
    assert len(pieces) == 3


@pytest.mark.parametrize("name", ["accounts.bson", "accounts.json"])
def test_memory_does_not_grow_with_the_size_of_a_dump(tmp_path, name):
    data = bson.encode(account(1, text="x" * 5000)) if name.endswith("bson") else None
    text = (to_line(account(1, text="x" * 5000)) + "\n").encode("utf-16-le")
    with (tmp_path / name).open("wb") as file:  # some 8 MB
        for _ in range(1600):
            file.write(data or text)
    tracemalloc.start()
    try:
        assert sum(1 for _ in Reader(tmp_path / name)) == 1600
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


def test_it_overwrites_a_row_that_cannot_be_read(tmp_path):
    """Comparing the document with the existing row does not fail."""
    (tmp_path / "accounts.json").write_text(LINES)
    assert run(tmp_path)[0] == 0
    with lax() as cursor:
        cursor.execute("UPDATE finance_account SET products = '[broken' WHERE account_id = 1")
        cursor.execute("UPDATE finance_account SET extra = '1e400' WHERE account_id = 2")
    status, lines = run(tmp_path)
    assert status == 0, lines
    assert any(line.split()[1:] == ["0", "2", "1", "0"] for line in lines if line.startswith("accounts.json"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT products FROM finance_account WHERE account_id = 1")
        assert cursor.fetchone() == ('["Brokerage"]',)
