"""Eight hostile pictures uploaded to the real web server at once: its memory, and the response time of other pages.

The memory limit is the documented one. The limit for response times is generous, because tests share their machine. On
a quiet machine: UPLOAD_LATENCY=1 script/test tests/test_hostile_uploads.py -s
"""

from __future__ import annotations

import html
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from allauth.account.models import EmailAddress
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from accounts.models import User
from accounts.tests.hostile_pictures import content
from tests.portal import serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

MEMORY = 400  # MB, of the worker and its child processes
LATENCY = float(os.environ.get("UPLOAD_LATENCY", "5"))
PASSWORD = "correct-horse-7"
WORST = [
    "png of 25 megapixels", "png of 25 megapixels with transparency", "png of 25 megapixels of 16 bits",
    "progressive jpeg of very many scans", "progressive jpeg of 25 megapixels", "webp of 8 megapixels",
    "png of 50,000 x 50,000 zeros", "progressive jpeg of 25 megapixels of four colours",
]  # fmt: skip
BUSY = ("Other pictures are being processed", "Another picture of yours is being processed")
PAGE = 1024 * 1024 / os.sysconf("SC_PAGE_SIZE")  # memory pages per MB


class Visitor:
    """A user logged in over HTTP, with a browser's cookies."""

    def __init__(self, address: str, username: str) -> None:
        self.address = address
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()))
        page = self.post("/login/", {"login": username, "password": PASSWORD})
        assert "/logout/" in page, " ".join(re.sub(r"<[^>]+>", "", page).split())

    def get(self, path: str) -> str:
        with self.opener.open(self.address + path, timeout=60) as response:
            return response.read().decode()

    def post(self, path: str, data: dict[str, Any]) -> str:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path))[1]
        body = encode_multipart(BOUNDARY, {"csrfmiddlewaretoken": token, **data})
        request = Request(self.address + path, body, {"Content-Type": MULTIPART_CONTENT})
        response: HTTPResponse
        with self.opener.open(request, timeout=60) as response:
            return response.read().decode()

    def send_picture(self, data: bytes) -> str:
        """Uploads a picture; the form's error, or "saved"."""
        upload = SimpleUploadedFile("me.jpg", data, content_type="image/jpeg")
        page = self.post("/profile/", {"first_name": "A", "last_name": "B", "address": "", "picture": upload})
        error = re.search(r'id="error_1_id_picture"[^>]*>\s*<strong>(.*?)</strong>', page)
        if error:
            return html.unescape(error[1])
        assert "Profile saved." in page, " ".join(re.sub(r"<[^>]+>", "", page).split())
        return "saved"

    def send_until_processed(self, data: bytes) -> str:
        for _ in range(200):
            if not (outcome := self.send_picture(data)).startswith(BUSY):
                return outcome
            time.sleep(0.1)
        raise AssertionError("the picture was never processed")


@dataclass
class Watch:
    """What was measured inside a `watching` block."""

    memory: float = 0.0  # MB
    children: int = 0
    times: list[float] = field(default_factory=list)  # seconds, of another page

    def __str__(self) -> str:
        slowest, middle = max(self.times), sorted(self.times)[len(self.times) // 2]
        return (
            f"worker and children {self.memory:.0f} MB at most, {self.children} decoders at once; "
            f"{len(self.times)} other pages, median {middle:.3f} s, slowest {slowest:.3f} s"
        )


def workers(address: str) -> list[int]:
    """The worker processes of the server at this address: those whose parent is also its process."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{urlsplit(address).netloc}\0".encode() in (process / "cmdline").read_bytes():
                found[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return [number for number, parent in found.items() if parent in found]


def children(number: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{number}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found + [grandchild for child in found for grandchild in children(child)]


def megabytes(number: int) -> float:
    with suppress(OSError):
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) / PAGE
    return 0.0


@contextmanager
def watching(address: str, bystander: Visitor) -> Iterator[Watch]:
    watch, done = Watch(), threading.Event()
    (worker,) = workers(address)

    def sample() -> None:
        while not done.wait(0.005):
            started = children(worker)
            watch.children = max(watch.children, len(started))
            watch.memory = max(watch.memory, sum(map(megabytes, [worker, *started])))

    def request_pages() -> None:
        while not done.wait(0.02):
            begun = time.monotonic()
            bystander.get("/profile/")
            watch.times.append(time.monotonic() - begun)

    with ThreadPoolExecutor(2) as pool:
        going = [pool.submit(sample), pool.submit(request_pages)]
        try:
            yield watch
        finally:
            done.set()
        for each in going:
            each.result()


@pytest.fixture
def visitors(settings: Any) -> Callable[[str], list[Visitor]]:
    """Logs in nine users at an address. The last one only reads pages."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    names = [f"person{number}" for number in range(9)]
    for name in names:
        user = User.objects.create_user(name, f"{name}@example.com", PASSWORD, role="customer")
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return lambda address: [Visitor(address, name) for name in names]


def test_eight_hostile_uploads_at_once_keep_the_worker_small_and_other_pages_quick(
    visitors: Callable[[str], list[Visitor]], tmp_path: Path
) -> None:
    pictures = [content(name) for name in WORST]
    with serving(MEDIA_ROOT=str(tmp_path)) as address:
        *people, bystander = visitors(address)
        with watching(address, bystander) as watch, ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(Visitor.send_until_processed, people, pictures))
        print(f"\neight people: {watch}")
        with watching(address, bystander) as alone, ThreadPoolExecutor(8) as pool:
            of_one = list(pool.map(people[0].send_picture, pictures))
        print(f"one person: {alone}")
    assert dict(zip(WORST, outcomes, strict=True)) == dict.fromkeys(WORST, "saved") | {
        WORST[3]: "The picture takes too long to process. Save it in another format or size.",
        WORST[6]: "The picture has too many pixels. Choose a smaller one.",
        WORST[7]: "This file is not a readable picture. Choose a JPEG, PNG or WebP file.",
    }  # fmt: skip
    assert [text for text in of_one if text.startswith(BUSY)]
    assert watch.memory < MEMORY
    assert alone.memory < MEMORY
    assert max(watch.children, alone.children) == 1
    assert max(watch.times + alone.times) < LATENCY
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) <= len(people), "at most one file per user, and none of a refused picture"
