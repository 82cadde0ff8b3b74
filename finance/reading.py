"""Reads documents from files of mongoexport and mongodump one by one, regardless of the file's size.

Both forms of mongoexport are read: one document after the other (each on one line or spread over several), and one JSON
array. The end of a document is found without decoding it, so a broken document affects no other:

1. A line followed by a line that starts with `{`, or by the end, is a document.
2. Otherwise the document continues until its braces are closed or a line starts with `{`: inner lines are indented.
3. In an array a document ends where its braces are closed. If they never are, it ends before what looks like the start
of the next one: mongoexport writes `_id` first.

mongodump's BSON is read by the length of each document. Each becomes the text that mongoexport would have written, so
the next steps are the same for all formats.
"""

import codecs
import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from io import IncrementalNewlineDecoder
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import bson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from finance.recognising import LONGEST_BSON, Format, recognise
from sync.mapping.extended_json import CANONICAL

CHUNK = 1 << 18  # characters
# MongoDB's largest document is 16 MiB; as canonical Extended JSON it is up to about four times as long.
LONGEST = 64 << 20

DAMAGED = "the file is damaged from here on"
CUT_OFF = f"{DAMAGED}: it ends within the array, without its ]. More documents may be missing: export it again"
# For decoded BSON: dates that Python cannot hold stay numbers.
TYPES: CodecOptions = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)

BRACES = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|[{}"]')
BLANK = re.compile(r"\s*")
BETWEEN = re.compile(r"[\s,\]]*")  # the documents of an array
NEXT_DOCUMENT = re.compile(r'[,\n]\s*(?=\{\s*"_id"\s*:)')


class Piece(NamedTuple):
    """A candidate for a document: its first line (from 1), its text, and what is wrong if it is incomplete."""

    line: int
    text: str
    problem: str = ""


class Reader:
    """The pieces of one file. `position` is the number of bytes read so far, for a progress bar."""

    def __init__(self, path: Path, format: Format | None = None) -> None:
        self.path = path
        self.format = format
        self.line = 1
        self.buffer = ""
        self.start = 0
        self.ended = False
        self.closed = False  # whether a `]` was found since the last document
        self.damage = ""

    @property
    def position(self) -> int:
        return self.file.tell()

    def __iter__(self) -> Iterator[Piece]:
        """Raises OSError if the file cannot be opened or read."""
        form = self.format or recognise(self.path)
        with self.path.open("rb") as self.file:
            data = cast(IO[bytes], gzip.GzipFile(fileobj=self.file)) if form.compressed else self.file
            yield from self._documents_of_text(data, form.encoding) if form.encoding else _documents_of_bson(data)

    def _documents_of_text(self, data: IO[bytes], encoding: str) -> Iterator[Piece]:
        self.text = _Text(data, encoding)
        self._skip(BLANK)
        array = self.buffer.startswith("[", self.start)
        if array:
            self.start += 1
        separator, end = (BETWEEN, self._end_in_array) if array else (BLANK, self._end_in_lines)
        piece = None
        while self._skip(separator):
            piece = self._take(end())
            yield piece
        if array and not self.closed and (piece is None or piece.text.endswith("}")):
            self.damage = self.damage or CUT_OFF
        if self.damage:
            yield Piece(self.line, "", self.damage)

    def _more(self) -> bool:
        """Reads as much again as is already buffered, so that a long document is not rescanned too often."""
        if self.ended or len(self.buffer) - self.start > LONGEST:
            return False
        try:
            text = self.text.read(max(CHUNK, len(self.buffer) - self.start))
        except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeError) as error:
            text, self.damage = "", f"{DAMAGED}: {error}"
        self.ended = not text
        self.buffer = self.buffer[self.start :] + text
        self.start = 0
        return not self.ended

    def _skip(self, separator: re.Pattern) -> bool:
        """Moves to the next document; returns False if there is none."""
        while True:
            end = cast(re.Match, separator.match(self.buffer, self.start)).end()
            self.line += self.buffer.count("\n", self.start, end)
            self.closed = self.closed or "]" in self.buffer[self.start : end]
            self.start = end
            if end < len(self.buffer):
                return True
            if not self._more():
                return False

    def _take(self, end: int) -> Piece:
        text = self.buffer[self.start : end]
        problem = f"longer than {LONGEST >> 20} MiB" if len(text) > LONGEST else ""
        piece = Piece(self.line, text.rstrip(), problem)
        self.line += text.count("\n")
        self.start, self.closed = end, False
        return piece

    def _line_end(self, offset: int) -> int:
        """The offset of the end of the line that starts `offset` characters from here."""
        while True:
            end = self.buffer.find("\n", self.start + offset)
            if end >= 0:
                return end - self.start
            offset = len(self.buffer) - self.start
            if not self._more():
                return len(self.buffer) - self.start

    def _end_in_lines(self) -> int:
        end, depth = 0, 0
        while True:
            begin, end = end, self._line_end(end)
            if end + 1 >= len(self.buffer) - self.start:
                self._more()
            following = self.buffer[self.start + end + 1 : self.start + end + 2]
            if following in ("", "{") or end > LONGEST:
                break
            for match in BRACES.finditer(self.buffer, self.start + begin, self.start + end):
                depth += (match[0] == "{") - (match[0] == "}")
            if depth <= 0:
                break
            end += 1
        return self.start + end

    def _end_in_array(self) -> int:
        if self.buffer[self.start] != "{":
            return self._before_next()
        offset, depth = 0, 0
        while True:
            for match in BRACES.finditer(self.buffer, self.start + offset):
                if match[0] == '"' and self.buffer.find("\n", match.end()) < 0 and not self.ended:
                    offset = match.start() - self.start  # a string that is not complete yet
                    break
                depth += (match[0] == "{") - (match[0] == "}")
                if depth == 0:
                    return match.end()
            else:
                offset = len(self.buffer) - self.start
            if not self._more():
                return self._before_next()

    def _before_next(self) -> int:
        while True:
            match = NEXT_DOCUMENT.search(self.buffer, self.start + 1)
            if match:
                return match.start()
            if not self._more():
                return len(self.buffer)


class _Text:
    """The text of a file, with line endings as `\n`.

    Bytes that are not UTF-8 become lone surrogates, so that only their document is rejected. Text read before a damaged
    part is not lost, as it would be with TextIOWrapper.
    """

    def __init__(self, data: Any, encoding: str) -> None:
        self.data = data
        errors = "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass"
        self.decoder = IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(errors), translate=True)

    def read(self, size: int) -> str:
        """Reads some of the text; empty at the end. Raises UnicodeError if the file ends within a character."""
        while part := self.data.read1(size):
            if text := self.decoder.decode(part):
                return text
        return self.decoder.decode(b"", final=True)


def _documents_of_bson(data: IO[bytes]) -> Iterator[Piece]:
    """Yields a piece for each document; its line is its number in the file."""
    number = 0
    try:
        while head := data.read(4):
            number += 1
            length = struct.unpack("<i", head)[0] if len(head) == 4 else 0
            if not 5 <= length <= LONGEST_BSON:
                yield Piece(number, "", f"{DAMAGED}: no document begins here")
                return
            raw = head + data.read(length - 4)
            if len(raw) < length:
                yield Piece(number, "", f"{DAMAGED}: it ends within a document of {length} bytes")
                return
            yield _of_bson(number, raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield Piece(number, "", f"{DAMAGED}: {error}")


def _of_bson(number: int, raw: bytes) -> Piece:
    try:
        document = bson.decode(raw, TYPES)
        text = json_util.dumps(document, json_options=CANONICAL)
        if bson.encode(document, codec_options=TYPES) != raw:  # such as a key that occurs twice
            return Piece(number, text, "this BSON cannot be kept as it is")
    except (BSONError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return Piece(number, raw.hex(), f"broken BSON: {error}")
    return Piece(number, text)
