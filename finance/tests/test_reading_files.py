"""The layouts in which documents are stored in files, and how a broken document is separated from the others."""

import json
import tracemalloc
from collections import Counter

import pytest

from finance.reading import Reader
from finance.tests.files import write

DOCUMENTS = [{"_id": number, "text": 'a {"b"} [\\\n]', "inner": [{"c": {}}, []]} for number in range(3)]
FORMS = {
    "lines": "\n".join(map(json.dumps, DOCUMENTS)),
    "lines with an end": "\n".join(map(json.dumps, DOCUMENTS)) + "\n",
    "Windows' lines": "\r\n".join(map(json.dumps, DOCUMENTS)),
    "blank lines": "\n\n" + "\n \n\n".join(map(json.dumps, DOCUMENTS)) + "\n\n",
    "BOM": "\ufeff" + "\n".join(map(json.dumps, DOCUMENTS)),
    "many lines each": "\n".join(json.dumps(document, indent=2) for document in DOCUMENTS),
    "array": json.dumps(DOCUMENTS),
    "array of lines": "[" + ",\n".join(map(json.dumps, DOCUMENTS)) + "]\n",
    "array of many lines each": json.dumps(DOCUMENTS, indent="\t"),
    "array with a BOM": "\ufeff  " + json.dumps(DOCUMENTS),
}


def read(path):
    return [(piece.line, piece.text) for piece in Reader(path)]


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_it_reads_every_layout(tmp_path, text, suffix):
    assert [json.loads(text) for _, text in read(write(tmp_path / f"x{suffix}", text))] == DOCUMENTS


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_it_reads_every_layout_with_any_chunk_size(tmp_path, monkeypatch, text, size):
    monkeypatch.setattr("finance.reading.CHUNK", size)
    assert [json.loads(text) for _, text in read(write(tmp_path / "x.json", text))] == DOCUMENTS


@pytest.mark.parametrize("text", ["", "\n\n", "[]", " [ ]\n", "\ufeff"])
def test_it_finds_nothing_in_an_empty_file(tmp_path, text):
    assert read(write(tmp_path / "x.json", text)) == []


@pytest.mark.parametrize("kept", range(4))
@pytest.mark.parametrize("end", ["", ",", ",\n", "\n "])
def test_it_detects_an_array_truncated_between_two_documents(tmp_path, kept, end):
    """A full disk or a broken connection can end a file like this, with every document complete."""
    text = "[" + ",\n".join(map(json.dumps, DOCUMENTS[:kept])) + end
    *pieces, last = Reader(write(tmp_path / "x.json", text))
    assert [json.loads(piece.text) for piece in pieces] == DOCUMENTS[:kept]
    assert "it ends within the array" in last.problem


def test_it_reports_the_line_where_a_document_starts(tmp_path):
    text = '\n{"a":\n 1}\n\n{"b": 2}\n{"c":\n  [\n  ]\n}\n{"d": 4}'
    assert [line for line, _ in read(write(tmp_path / "x.json", text))] == [2, 5, 6, 10]


def test_it_skips_only_the_broken_line(tmp_path):
    text = '{"a": 1\n{"b": "open}\n{"c": 3}}\noops\nagain\n{"d": 4}'
    assert read(write(tmp_path / "x.json", text)) == [
        (1, '{"a": 1'), (2, '{"b": "open}'), (3, '{"c": 3}}'), (4, "oops"), (5, "again"), (6, '{"d": 4}'),
    ]  # fmt: skip


@pytest.mark.parametrize("broken", ['{"_id": 1, "x": }', '{"_id": 1, "x": [}', '{"_id": 1, "x": "open}', "oops", "}"])
@pytest.mark.parametrize("between", [",", ",\n"])
def test_it_skips_only_the_broken_document_of_an_array(tmp_path, broken, between):
    text = "[" + between.join(['{"_id": 0}', broken, '{"_id": 2}', '{"_id": 3}']) + "]"
    texts = [text.strip() for _, text in read(write(tmp_path / "x.json", text))]
    assert texts[0] == '{"_id": 0}'
    assert texts[-1] == '{"_id": 3}'
    assert texts[-2] == '{"_id": 2}'
    assert len(texts) == 4


def test_it_reports_where_a_compressed_file_is_damaged(tmp_path):
    path = write(tmp_path / "x.json.gz", "\n".join(json.dumps({"_id": number}) for number in range(50_000)))
    path.write_bytes(path.read_bytes()[:-3000])
    *pieces, last = Reader(path)
    assert len(pieces) > 1000
    assert "the file is damaged from here on" in last.problem


def test_it_reads_an_uncompressed_file_named_gz(tmp_path):
    path = tmp_path / "x.json.gz"
    path.write_bytes(b'{"_id": 1}')
    assert [(piece.text, piece.problem) for piece in Reader(path)] == [('{"_id": 1}', "")]


@pytest.mark.parametrize("array", [False, True])
def test_a_document_that_is_too_long_is_skipped(tmp_path, monkeypatch, array):
    monkeypatch.setattr("finance.reading.LONGEST", 2000)
    monkeypatch.setattr("finance.reading.CHUNK", 100)
    texts = ['{"_id": 1}', json.dumps({"_id": 2, "x": "x" * 2500}), '{"_id": 3}']
    text = "[" + ",\n".join(texts) + "]" if array else "\n".join(texts)
    problems = Counter(bool(piece.problem) for piece in Reader(write(tmp_path / "x.json", text)))
    assert problems[True] == 1
    assert problems[False] >= 2
    assert '{"_id": 3}' in [text for _, text in read(tmp_path / "x.json")]


@pytest.mark.parametrize("form", ["lines", "array", "indented"])
def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path, monkeypatch, form):
    monkeypatch.setattr("finance.reading.CHUNK", 1 << 14)
    document = {"_id": 1, "values": [{"n": number} for number in range(300)]}
    path = tmp_path / "x.json"
    with path.open("w") as file:  # about 1 MB, or 3 MB indented
        file.write("[" if form == "array" else "")
        text = json.dumps(document, indent=2 if form == "indented" else None)
        for number in range(300):
            file.write(("," if form == "array" and number else "") + text + ("" if form == "array" else "\n"))
        file.write("]" if form == "array" else "")
    tracemalloc.start()
    try:
        assert sum(1 for _ in Reader(path)) == 300
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400_000
