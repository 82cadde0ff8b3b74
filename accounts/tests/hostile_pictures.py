"""Uploads as an attacker or an unusual camera might send them. All are generated here; none is stored as a file."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from PIL import Image, PngImagePlugin

PICTURE = ""  # the upload is accepted and stored as a picture
UNREADABLE = "This file is not a readable picture"
PIXELS = "too many pixels"
MEMORY = "too much memory"
TIME = "takes too long"
ANY = None  # a picture or an error message: whether a truncated file is readable depends on the library

SCRIPT = b"<script>alert(1)</script><?php system($_GET[0]); ?>"
SIZE = (640, 480)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def photo(size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """A picture with a gradient instead of a flat colour."""
    return Image.radial_gradient("L").resize(size).convert(mode)


def grey_16_bit() -> Image.Image:
    return photo(mode="I").point(lambda grey: grey * 257).convert("I;16")


def plain(side: int, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (side, side), "red" if mode != "1" else 1)


# --- PNG -------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """This many zero bytes, compressed."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.compress(bytes(size & 0xFFFFF)) + (
        packer.flush()
    )  # fmt: skip


def pixels(width: int, height: int, bits: int = 24) -> bytes:
    return chunk(b"IDAT", zeros(height * (1 + (width * bits + 7) // 8)))


def png_with(*chunks: bytes) -> bytes:
    return png(100, 100, *chunks, pixels(100, 100))


def apng(frames: int) -> bytes:
    images = [plain(16), Image.new("RGB", (16, 16), "blue")] * (frames // 2)
    return encoded(images[0], "PNG", save_all=True, append_images=images[1:], duration=10)


# --- JPEG ------------------------------------------------------------------------------------------------------------


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + segment(0xDB, bytes([0, *[1] * 64])) + segment(0xC0, frame)


def jpeg_of_scans(side: int, size: int) -> bytes:
    """A progressive JPEG whose short last scan of the whole picture is repeated until the file has this size."""
    whole = encoded(plain(side, "L"), "JPEG", progressive=True)
    begin = whole.rindex(b"\xff\xda")
    scan = whole[begin:-2]
    return whole[:begin] + scan * ((size - begin) // len(scan)) + b"\xff\xd9"


def jpeg_with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    exif[0x010E] = exif[0x9286] = SCRIPT.decode()  # description, comment
    return encoded(photo(), "JPEG", exif=exif)


def jpeg_with_comment(data: bytes) -> bytes:
    whole = encoded(photo(), "JPEG")
    return whole[:2] + segment(0xFE, data) + whole[2:]


# --- others ----------------------------------------------------------------------------------------------------------


def webp_header(width: int, height: int) -> bytes:
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animated(kind: str, frames: int) -> bytes:
    images = [Image.new("RGB", (16, 16), (number % 256, number // 256, 0)) for number in range(frames)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:], duration=10)


def with_archive(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("evil.php", SCRIPT)
    return content + out.getvalue()


def cut(kind: str, part: float) -> bytes:
    whole = encoded(photo(), kind)
    return whole[: int(len(whole) * part)] if part < 1 else whole[:-1]


def text_chunk(size: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * size, zip=True)
    return encoded(photo(), "PNG", pnginfo=info)


HOSTILE: dict[str, tuple[Callable[[], bytes], str | None]] = {
    # small files that unpack to something large
    "png of 50,000 x 50,000 zeros": (lambda: png(50_000, 50_000, pixels(50_000, 50_000, 1), depth=1, colour=0), PIXELS),
    "png header of 2,147,483,647 x 2,147,483,647": (lambda: png(2**31 - 1, 2**31 - 1), PIXELS),
    "png header of 5,000 x 5,000 without data": (lambda: png(5000, 5000), UNREADABLE),
    "png header of 0 x 0": (lambda: png(0, 0, pixels(1, 1)), UNREADABLE),
    "png whose pixels unpack to 256 MB": (lambda: png(100, 100, chunk(b"IDAT", zeros(1 << 28))), ANY),
    "png with 512 MB of zTXt": (lambda: png_with(*[chunk(b"zTXt", b"a\0\0" + zeros(1 << 26))] * 8), ANY),
    "png with 64 MB of iTXt": (lambda: png_with(chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(1 << 26))), ANY),
    "png with a profile of 256 MB": (lambda: png_with(chunk(b"iCCP", b"a\0\0" + zeros(1 << 28))), ANY),
    "png with 200 texts of 1 MB": (lambda: png_with(*[chunk(b"zTXt", b"a\0\0" + zeros(1 << 20))] * 200), ANY),
    "png with a megabyte of text": (lambda: text_chunk(1 << 20), PICTURE),
    "png with a chunk of 2 GB announced": (lambda: png(9, 9, b"\x7f\xff\xff\xffIDAT" + b"x" * 99), UNREADABLE),
    "jpeg header of 65,535 x 65,535": (lambda: jpeg_header(65_535, 65_535), PIXELS),
    "jpeg header of 5,000 x 5,000 without data": (lambda: jpeg_header(5000, 5000), UNREADABLE),
    "webp header of 16,384 x 16,384": (lambda: webp_header(16_384, 16_384), PIXELS),
    "webp header of 2,000 x 2,000 without data": (lambda: webp_header(2000, 2000), UNREADABLE),
    "png of 25,000,001 pixels": (lambda: encoded(Image.new("1", (25_000_001, 1)), "PNG"), PIXELS),
    "webp of 9 megapixels": (lambda: encoded(plain(3000), "WEBP"), PIXELS),
    # at the size limit
    "png of 25 megapixels": (lambda: encoded(plain(5000), "PNG"), PICTURE),
    "png of 25 megapixels with transparency": (lambda: encoded(plain(5000, "RGBA"), "PNG"), PICTURE),
    "png of 25 megapixels of 16 bits": (lambda: png(5000, 5000, pixels(5000, 5000, 48), depth=16), PICTURE),
    "png of 2,500,000 x 10": (lambda: encoded(Image.new("RGB", (2_500_000, 10)), "PNG"), PICTURE),
    "png of 1 x 25,000,000": (lambda: encoded(Image.new("1", (1, 25_000_000)), "PNG"), MEMORY),
    "jpeg of 25 megapixels": (lambda: encoded(plain(5000), "JPEG"), PICTURE),
    "progressive jpeg of 25 megapixels": (lambda: encoded(plain(5000), "JPEG", progressive=True), PICTURE),
    "progressive jpeg of 25 megapixels of four colours": (
        lambda: encoded(plain(5000).convert("CMYK"), "JPEG", progressive=True, subsampling=0), UNREADABLE,
    ),
    "webp of 8 megapixels": (lambda: encoded(plain(2800), "WEBP"), PICTURE),
    "progressive jpeg of very many scans": (lambda: jpeg_of_scans(5000, 4 << 20), TIME),
    # animations
    "gif of 2,000 frames": (lambda: animated("GIF", 2000), UNREADABLE),
    "apng of 2,000 frames": (lambda: apng(2000), PICTURE),
    "webp of 2,000 frames": (lambda: animated("WEBP", 2000), PICTURE),
    # unusual cameras and programs
    "cmyk jpeg": (lambda: encoded(photo(mode="CMYK"), "JPEG"), PICTURE),
    "grey jpeg": (lambda: encoded(photo(mode="L"), "JPEG"), PICTURE),
    "mpo, as phones write it": (lambda: encoded(photo(), "MPO", save_all=True, append_images=[photo()]), PICTURE),
    "png of 16 bits": (lambda: png(300, 200, pixels(300, 200, 48), depth=16), PICTURE),
    "grey png of 16 bits": (lambda: encoded(grey_16_bit(), "PNG"), PICTURE),
    "png of 1 bit": (lambda: encoded(photo(mode="1"), "PNG"), PICTURE),
    "grey png with transparency": (lambda: encoded(photo(mode="LA"), "PNG"), PICTURE),
    "png with a palette": (lambda: encoded(photo(mode="P"), "PNG"), PICTURE),
    "png with a palette and transparency": (lambda: encoded(photo(mode="P"), "PNG", transparency=b"\0\x80"), PICTURE),
    "png with a transparent colour": (lambda: encoded(photo(), "PNG", transparency=(0, 0, 0)), PICTURE),
    "lossless webp with transparency": (lambda: encoded(photo(mode="RGBA"), "WEBP", lossless=True), PICTURE),
    "one pixel": (lambda: encoded(plain(1), "PNG"), PICTURE),
    # pictures that contain something else
    "jpeg with scripts in its exif": (jpeg_with_exif, PICTURE),
    "jpeg with broken exif": (lambda: encoded(photo(), "JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 60), ANY),
    "jpeg that is a page": (lambda: jpeg_with_comment(b"<html>" + SCRIPT), PICTURE),
    "gif that is a script": (lambda: b"GIF89a/*" + encoded(plain(8), "GIF")[8:] + b"*/=1;alert(1)", UNREADABLE),
    "png with an archive behind": (lambda: with_archive(encoded(photo(), "PNG")), PICTURE),
    "jpeg with an archive behind": (lambda: with_archive(encoded(photo(), "JPEG")), PICTURE),
    "png with a script in its text": (lambda: png_with(chunk(b"tEXt", b"Comment\0" + SCRIPT)), PICTURE),
    # not pictures
    "nothing": (lambda: b"", UNREADABLE),
    "zero bytes": (lambda: bytes(100_000), UNREADABLE),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'>" + SCRIPT + b"</svg>", UNREADABLE),
    "page": (lambda: b"<!doctype html>" + SCRIPT, UNREADABLE),
    "bmp": (lambda: encoded(photo(), "BMP"), UNREADABLE),
    "tiff": (lambda: encoded(photo(), "TIFF"), UNREADABLE),
    "icon": (lambda: encoded(photo((64, 64)), "ICO"), UNREADABLE),
    "postscript": (lambda: encoded(photo((64, 64)), "EPS"), UNREADABLE),
    "jpeg 2000": (lambda: encoded(photo(), "JPEG2000"), UNREADABLE),
    "archive": (lambda: with_archive(b""), UNREADABLE),
    # truncated
    **{
        f"{kind.lower()} cut off at {part:.0%}": (partial(cut, kind, part), ANY)
        for kind in ("JPEG", "PNG", "WEBP") for part in (0.02, 0.1, 0.5, 0.9)
    },
    **{f"{kind.lower()} without its last byte": (partial(cut, kind, 1), ANY) for kind in ("JPEG", "PNG", "WEBP")},
}  # fmt: skip


@cache
def content(name: str) -> bytes:
    return HOSTILE[name][0]()
