"""Recognizes the format of a file given to `import_dataset` by its first bytes, because names can be wrong."""

from __future__ import annotations

import codecs
import gzip
import re
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

HEAD = 1 << 16  # bytes read
LONGEST_BSON = (16 << 20) + (16 << 10)  # bytes of one document, with MongoDB's own allowance
GZIP = b"\x1f\x8b"

HOW = "Export it with: mongoexport --jsonFormat=canonical --collection=NAME --out=NAME.json"
UNPACK = "Unpack it, then import the files in it."
# By first bytes: the format, and what to do.
FORMATS: list[tuple[bytes, str, str]] = [
    (b"PK\x03\x04", "a ZIP archive", UNPACK),
    (b"PK\x05\x06", "an empty ZIP archive", HOW),
    (b"BZh", "compressed by bzip2", "Run bunzip2, then import the result."),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "Run unzstd, then import the result."),
    (b"\xfd7zXZ\x00", "compressed by xz", "Run unxz, then import the result."),
    (b"\x04\x22\x4d\x18", "compressed by lz4", "Run unlz4, then import the result."),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"%PDF", "a PDF document", HOW),
    (b"SQLite format 3\x00", "an SQLite database", HOW),
    (b"\xd0\xcf\x11\xe0", "a document of an older Microsoft Office", HOW),
    (b"PAR1", "a Parquet file", HOW),
    (b"Obj\x01", "an Avro file", HOW),
    (b"\x41\xd8\x01\x00\x01\x00\x00\x00", "a file of mongod's own", HOW),
    (GZIP, "compressed by gzip twice", "Run gunzip, then import the result."),
    (b"\x6d\xe2\x99\x81", "an archive of mongodump",
     "Restore it with mongorestore --archive=FILE and export it with mongoexport, or run mongodump without --archive."),
]  # fmt: skip
BOMS = [
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"),
]  # fmt: skip
# Each pattern reads a line once: a file may start with thousands of blank lines.
DOCUMENT = re.compile(r"^[^\S\n]*+[\[{]", re.MULTILINE)
OF_JSON = re.compile(r"^[^\S\n]*+(?:\[\s*+)?\{\s*+\"", re.MULTILINE)
# A key without quotes or in single quotes, or ObjectId(...) as the old shell prints it.
OF_SHELL = re.compile(
    r"^[^\S\n]*+(?:\[\s*+)?\{\s*+(?:[\w$]++\s*+:|'|\"_id\"\s*+:\s*+(?:new\s++)?[A-Za-z]++\()", re.MULTILINE
)
SQL = re.compile(r"^(-- (MySQL|MariaDB) dump|INSERT INTO|CREATE TABLE)", re.MULTILINE)
BSON_TYPES = (*range(1, 0x14), 0x7F, 0xFF)
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")


class NothingToImport(Exception):
    """A path that cannot be imported. The message says why and what to do."""


@dataclass(frozen=True)
class Format:
    """How to read a file. encoding: of its text; empty for BSON. note: a remark to print, if any."""

    encoding: str = "utf-8-sig"
    compressed: bool = False
    note: str = ""


def recognise(path: Path) -> Format:
    """Raises NothingToImport for a file without documents, and OSError for one that cannot be read."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise NothingToImport(f"{path} is not a regular file. Save its data to a file, then import that.")
    with path.open("rb") as file:
        head = file.read(HEAD)
    compressed = head.startswith(GZIP)
    if compressed:
        head = _unzipped(path)
    named = path.name.lower()
    what = _format(path, head)
    notes = [what.note] if what.note else []
    if compressed and not named.endswith(".gz"):
        notes.append("compressed by gzip, though its name does not end in .gz")
    if not compressed and named.endswith(".gz"):
        notes.append("not compressed, though its name ends in .gz")
    return Format(what.encoding, compressed, "; ".join(notes))


def _format(path: Path, head: bytes) -> Format:
    for magic, name, advice in FORMATS:
        if head.startswith(magic):
            name = "an Excel workbook" if b"xl/" in head and magic.startswith(b"PK") else name
            advice = HOW if name == "an Excel workbook" else advice
            raise NothingToImport(f"{path} is {name}, not JSON or BSON. {advice}")
    if head[257:262] == b"ustar":
        raise NothingToImport(f"{path} is a tar archive, not JSON or BSON. {UNPACK}")
    encoding = next((name for bom, name in BOMS if head.startswith(bom)), _without_bom(head))
    if encoding == "utf-8-sig" and is_bson(head):
        return Format(encoding="", note="BSON, as mongodump writes it")
    text = head.decode(encoding, errors="replace")
    if not text.strip():
        return Format(encoding, note="empty: it holds no document")
    begins = text.lstrip("\ufeff \t\r\n")
    if encoding == "utf-8-sig" and CONTROLS.search(text) and not DOCUMENT.match(begins):
        raise NothingToImport(f"{path} is a binary file of an unknown kind, not JSON or BSON. {HOW}")
    if not DOCUMENT.search(text) or (not DOCUMENT.match(begins) and (_is_markup(begins) or SQL.search(text))):
        raise NothingToImport(f"{path} is {_kind_of_text(text)}, not JSON. {HOW}")
    if (shell := OF_SHELL.search(text)) and shell.start() <= _place(OF_JSON.search(text), shell.start()):
        raise NothingToImport(f"{path} is what mongosh prints, which is JavaScript and not JSON. {HOW}")
    note = "" if encoding == "utf-8-sig" else f"JSON in {encoding[:6].upper()}"
    if encoding == "utf-8-sig" and not _is_utf8(head):
        note = (
            "not UTF-8: records with other characters are rejected. If it is Windows-1252 or Latin-1, convert it: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}"
        )
    return Format(encoding, note=note)


def is_bson(head: bytes) -> bool:
    """Whether these bytes start a BSON document: its length, then an element with a name, or its end."""
    if len(head) < 5:
        return False
    (length,) = struct.unpack_from("<i", head)
    if not 5 <= length <= LONGEST_BSON:
        return False
    if length <= len(head) and head[length - 1]:
        return False
    kind, name_end = head[4], head.find(b"\0", 5)
    return (length == 5 and kind == 0) or (kind in BSON_TYPES and name_end > 0)


def _unzipped(path: Path) -> bytes:
    """The first bytes; of a damaged gzip file as many as can be read."""
    head = b""
    try:
        with gzip.open(path) as file:
            while len(head) < HEAD and (part := file.read1(HEAD)):
                head += part
    except (EOFError, gzip.BadGzipFile, zlib.error):
        if not head:
            raise NothingToImport(f"{path} is a damaged gzip file: nothing in it can be read. Copy it again.") from None
    return head


def _without_bom(head: bytes) -> str:
    """Recognizes UTF-16 and UTF-32 by the zero bytes of the first two characters, which are ASCII in JSON and CSV.

    A BSON document of 123 bytes starts like `{` in these encodings, but its type and first key have no zeros.
    """
    zeros = "".join("0" if byte == 0 else "x" for byte in head[:8])
    if zeros == "x000x000":
        return "utf-32-le"
    if zeros == "000x000x":
        return "utf-32-be"
    if zeros.startswith("x0x0") and not (zeros[5:6] == "x" and head[4] in BSON_TYPES):
        return "utf-16-le"
    return "utf-16-be" if zeros.startswith("0x0x") else "utf-8-sig"


def _place(match: re.Match | None, otherwise: int) -> int:
    return match.start() if match else otherwise


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last bytes may be half a character
    except UnicodeDecodeError:
        return False
    return True


def _is_markup(text: str) -> bool:
    return re.match(r"<(\?xml|!doctype|html)", text, re.IGNORECASE) is not None


def _kind_of_text(text: str) -> str:
    first = next(line for line in text.splitlines() if line.strip())
    if _is_markup(text.lstrip("\ufeff \t\r\n")):
        return "XML or HTML"
    if SQL.search(text):
        return "a dump of SQL"
    for separator, name in (("\t", "TSV (values separated by tabs), which has no types"),
                            (",", "CSV, which has no types"), (";", "CSV, which has no types")):  # fmt: skip
        if separator in first:
            return name
    return "text without a JSON document"
