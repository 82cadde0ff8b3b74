"""A separate program that turns an uploaded picture into a small JPEG, within limits that the kernel enforces.

accounts.pictures runs it once for each upload: the upload on stdin, the JPEG on stdout, one of these exit statuses. It
imports nothing of the portal and gets none of its environment.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from io import BytesIO

from PIL import Image, ImageOps

DONE, UNREADABLE, TOO_MANY_PIXELS, TOO_MUCH_MEMORY = 0, 10, 11, 12
OUT_OF_TIME = -signal.SIGXCPU  # as `subprocess` reports a process that the kernel killed by them

FORMATS = ["JPEG", "PNG", "WEBP"]
MAX_PIXELS = 25_000_000
MAX_PIXELS_WEBP = 8_000_000  # each takes 16 bytes: libwebp has two whole pictures, returns a third, Pillow copies it
MEMORY = 224 * 1024 * 1024  # bytes of address space: 25 megapixels take 136 MB as PNG, up to 185 as progressive JPEG
CPU_SECONDS = 3
SIDE = 384  # pixels, of the result
ROWS = 16  # pixels, of a strip of _shrunk's result
ORIENTATION = 0x0112


def limit_this_process() -> None:
    """Before anything hostile is read. The web server's own work has priority."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def small_jpeg(content: bytes) -> bytes:
    """A JPEG of SIDE x SIDE pixels of what the picture shows, and of nothing else in the file."""
    limit = MAX_PIXELS_WEBP if content[8:12] == b"WEBP" else MAX_PIXELS
    Image.MAX_IMAGE_PIXELS = limit // 2  # Pillow warns above this number and refuses twice as many, by the header alone
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))  # libjpeg decodes to a half, a quarter or an eighth of the size
        square = _shrunk(image)
        square.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    square = ImageOps.exif_transpose(square).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    flat = Image.new("RGB", square.size, "white")
    flat.paste(square, mask=square)
    out = BytesIO()
    flat.save(out, "JPEG", quality=88)
    return out.getvalue()


def _shrunk(image: Image.Image) -> Image.Image:
    """The picture's central square in RGBA, less than four times SIDE wide.

    Made of strips, because converting the whole picture would need its memory twice.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    factor = max(1, side // (2 * SIDE))
    square = Image.new("RGBA", (-(-side // factor),) * 2)
    for y in range(0, side, ROWS * factor):
        strip = image.crop((left, top + y, left + side, top + min(y + ROWS * factor, side)))
        if strip.mode.startswith("I"):  # 16 bits of gray
            strip = strip.convert("I").point(lambda grey: grey / 256).convert("L")
        square.paste(strip.convert("RGBA").reduce(factor), (0, y // factor))
    return square


def main() -> int:
    try:
        sys.stdout.buffer.write(small_jpeg(sys.stdin.buffer.read()))
    except Image.DecompressionBombError:
        return TOO_MANY_PIXELS
    except MemoryError:
        return TOO_MUCH_MEMORY
    except Exception:  # a file made to confuse Pillow can raise any exception
        return UNREADABLE
    return DONE


if __name__ == "__main__":
    limit_this_process()
    sys.exit(main())
