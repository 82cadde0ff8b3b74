"""No cell of a CSV file is a formula, whichever separator a spreadsheet uses."""

from __future__ import annotations

import csv
import io
import json
import time
from decimal import Decimal
from typing import Any

import pytest

from exports.responses import csv_response

pytestmark = pytest.mark.quick

INVISIBLE = "\ufeff\u200b\u200e\u2060\u202e\u2066\u180e\u3164\xad\xa0 \t\r\n\x00\x1f"
SIGNS = "=+-@＝＋－＠"  # noqa: RUF001  (some are full-width characters)
PAYLOADS = [
    *SIGNS, "=1+1", "+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\t", "\rx", "a;=1+1", "a; =1+1", "a\t@x",
    "a\n=1", "a\r\n=1", "a|=1", "\ufeff=1+1", "\u200b=1", "\xa0=1", " =1", "\x00=1", "\uff1d1+1", "a;\uff1d1",
    ';=1;"', '"=1', 'a;"=1+1', 'a;""=1+1', 'a\t"@x', 'a;" =1', "\xad=1", "\u202e=1", "\u2066=1", "a;\u180e=1",
    "\u3164=1", "x;\u200b=1", "a;;=1", ["a;=1", "=2"], {"a": "x;=1"}, {"=1": 1},
]  # fmt: skip


def text_of(rows: list[list[Any]]) -> str:
    answer: Any = csv_response("x", ["one", "two", "three"], rows)
    return b"".join(answer.streaming_content).decode()


def as_spreadsheets_read(text: str) -> list[str]:
    """The cells of a file for each separator, both with and without interpreting quotes."""
    cells = []
    for separator in ",;\t|":
        cells += [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) for cell in row]
        for line in text.replace("\r", "\n").split("\n"):
            cells += [cell.strip('"') for cell in line.split(separator)] if separator != "," else []
    return cells


def is_formula(cell: str) -> bool:
    return cell.lstrip(INVISIBLE)[:1] in set(SIGNS) or cell[:1] in set("\t\r\n")


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_no_cell_is_interpreted_as_a_formula(payload: Any) -> None:
    text = text_of([["first", payload, "last"], [payload, 1, payload]])
    found = [cell for cell in as_spreadsheets_read(text) if is_formula(cell)]
    assert found == []


def test_the_check_detects_formulas() -> None:
    for text in ("a,=1\r\n", "a,b;=1\r\n", 'a,"b\n=1"\r\n', "a\t=1\r\n", "\ufeff=1,a\r\n"):
        assert any(is_formula(cell) for cell in as_spreadsheets_read(text)), text


def test_numbers_and_plain_text_are_unchanged() -> None:
    values = [-1.5, -3, Decimal("-10.25"), "a-b", "1+1", "x = y", "a@example.com", "é", "a;b", "", None, {}]
    [_, row] = csv.reader(io.StringIO(text_of([values]), newline=""))
    assert row == ["-1.5", "-3", "-10.25", "a-b", "1+1", "x = y", "a@example.com", "é", "a;b", "", "", ""]


def test_a_json_cell_can_be_parsed_again() -> None:
    value = {"a": [1, {"b": "c;d"}], "e": "line\nbreak"}
    [_, row] = csv.reader(io.StringIO(text_of([[value]]), newline=""))
    assert json.loads(row[0]) == value


def test_a_long_run_of_separators_is_scanned_in_linear_time() -> None:
    started = time.process_time()
    text_of([["\t;" * 100_000 + "x"]])
    assert time.process_time() - started < 1
