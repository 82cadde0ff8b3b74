"""Reads documents out of mongoexport's files one by one, whatever the size of the file.

Both forms are read: one document after the other (each on a line, or spread over several), and one JSON array. Where
one document ends is found without decoding it, so that a broken one costs itself only:

1. A line that is followed by a line beginning with `{`, or by the end, is a document.
2. Else it goes on, until its braces are closed or a line begins with `{`: inner lines are indented.
3. In an array a document ends where its braces are closed. When they never are, it ends before what looks like
   the beginning of the next: mongoexport writes `_id` first.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, NamedTuple, cast

CHUNK = 1 << 18  # characters
# MongoDB takes documents of 16 MiB; as canonical Extended JSON they are up to about four times as long.
LONGEST = 64 << 20

BRACES = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|[{}"]')
BLANK = re.compile(r"\s*")
BETWEEN = re.compile(r"[\s,\]]*")  # the documents of an array
NEXT_DOCUMENT = re.compile(r'[,\n]\s*(?=\{\s*"_id"\s*:)')


class Piece(NamedTuple):
    """What should be one document: its first line (from 1), its text, and what is wrong when it is not whole."""

    line: int
    text: str
    problem: str = ""


class Reader:
    """The pieces of one file. `position` says how many bytes of it have been read, for a progress bar."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 1
        self.buffer = ""
        self.start = 0
        self.ended = False
        self.damage = ""

    @property
    def position(self) -> int:
        return self.file.tell()

    def __iter__(self) -> Iterator[Piece]:
        """Raises OSError when the file cannot be opened or read."""
        with self.path.open("rb") as self.file, _text(self.path, self.file) as self.text:
            self._skip(BLANK)
            array = self.buffer.startswith("[", self.start)
            if array:
                self.start += 1
            separator, end = (BETWEEN, self._end_in_array) if array else (BLANK, self._end_in_lines)
            while self._skip(separator):
                piece = self._take(end())
                yield piece
            if self.damage:
                yield Piece(self.line, "", self.damage)

    def _more(self) -> bool:
        """Reads on, by as much as there is already, so that a long document is not scanned too often."""
        if self.ended or len(self.buffer) - self.start > LONGEST:
            return False
        try:
            text = self.text.read(max(CHUNK, len(self.buffer) - self.start))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            text, self.damage = "", f"the file is damaged from here on: {error}"
        self.ended = not text
        self.buffer = self.buffer[self.start :] + text
        self.start = 0
        return not self.ended

    def _skip(self, separator: re.Pattern) -> bool:
        """Goes on to the next document; False when there is none."""
        while True:
            end = cast(re.Match, separator.match(self.buffer, self.start)).end()
            self.line += self.buffer.count("\n", self.start, end)
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
        self.start = end
        return piece

    def _line_end(self, offset: int) -> int:
        """Where the line that begins `offset` characters from here ends, as an offset."""
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
                    offset = match.start() - self.start  # a string that is not here as a whole
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


def _text(path: Path, file: BufferedReader) -> TextIOWrapper:
    """The file's text. Bytes that are not UTF-8 become lone surrogates, so that only their document is refused."""
    raw = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if path.suffix.lower() == ".gz" else file
    return TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape")
