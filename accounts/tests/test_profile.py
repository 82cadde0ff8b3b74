"""The profile page."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image

from accounts.models import User

pytestmark = pytest.mark.django_db


def picture(kind: str = "PNG", size: tuple[int, int] = (60, 40), **options: Any) -> SimpleUploadedFile:
    out = BytesIO()
    Image.new("RGB", size, "red").save(out, kind, **options)
    return SimpleUploadedFile("../../evil.php", out.getvalue(), content_type="text/html")


def redness(image: Image.Image, y: int) -> Any:
    return image.convert("RGB").getchannel("R").getpixel((190, y))


@pytest.fixture
def browser(client: Client, ada: User, settings: Any, tmp_path: Any) -> Client:
    settings.MEDIA_ROOT = tmp_path
    client.force_login(ada)
    return client


def save(browser: Client, **changes: Any) -> Any:
    return browser.post("/profile/", {"first_name": "Ada", "last_name": "Byron", "address": "", **changes})


def test_name_and_address_are_saved(browser: Client, ada: User) -> None:
    assert save(browser, last_name="Lovelace", address="12 Square")["Location"] == "/profile/"
    ada.refresh_from_db()
    assert (ada.get_full_name(), ada.address) == ("Ada Lovelace", "12 Square")


def test_nothing_else_can_be_posted(browser: Client, ada: User) -> None:
    save(browser, role="senior_management", is_staff="1", requested_role="technical_worker", email="x@example.com")
    ada.refresh_from_db()
    assert (ada.role, ada.is_staff, ada.requested_role, ada.email) == ("customer", False, "", "ada@example.com")


def test_initials_replace_a_missing_picture(browser: Client) -> None:
    page = browser.get("/profile/").content.decode()
    assert ">AB</span>" in page
    assert browser.get("/profile/picture/").status_code == 404


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_stored_as_a_small_jpeg_with_a_random_name(browser: Client, ada: User, kind: str) -> None:
    assert save(browser, picture=picture(kind)).status_code == 302
    ada.refresh_from_db()
    assert re.fullmatch(r"pictures/[0-9a-f]{32}\.jpg", ada.picture.name or "")
    response: Any = browser.get("/profile/picture/")
    assert response["Content-Type"] == "image/jpeg"
    assert response["X-Content-Type-Options"] == "nosniff"
    image = Image.open(BytesIO(b"".join(response.streaming_content)))
    assert (image.format, image.size) == ("JPEG", (384, 384))


def test_a_picture_is_turned_upright_and_loses_its_metadata(browser: Client, ada: User) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    exif[0x010E] = "a secret place"
    out = BytesIO()
    upside_down = Image.new("RGB", (40, 40), "red")
    upside_down.paste("blue", (0, 0, 40, 20))
    upside_down.save(out, "JPEG", exif=exif)
    save(browser, picture=SimpleUploadedFile("me.jpg", out.getvalue()))
    ada.refresh_from_db()
    kept = Image.open(ada.picture)
    assert not kept.getexif()
    assert redness(kept, 40) > 200 > redness(kept, 340)


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        (lambda: SimpleUploadedFile("a.jpg", b"<script>alert(1)</script>"), "This file is not a readable"),
        (
            lambda: SimpleUploadedFile("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
            "This file is not a readable",
        ),
        (lambda: picture("GIF"), "This file is not a readable"),
        (lambda: SimpleUploadedFile("a.png", picture().read()[:50]), "This file is not a readable"),
        (lambda: picture(size=(6000, 6000)), "too many pixels"),
        (lambda: SimpleUploadedFile("a.png", b"\0" * (5 * 1024 * 1024 + 1)), "larger than 5 MB"),
    ],
    ids=["html", "svg", "gif", "cut off", "bomb", "large"],
)
def test_other_uploads_are_refused_with_a_reason(
    browser: Client, ada: User, upload: Callable[[], SimpleUploadedFile], words: str
) -> None:
    response = save(browser, picture=upload())
    assert response.status_code == 200
    assert words in response.content.decode()
    ada.refresh_from_db()
    assert not ada.picture


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_data_appended_to_a_picture_is_not_stored(browser: Client, ada: User, kind: str) -> None:
    """Markup, code or an archive appended to a picture is not stored."""
    hidden = b"<script>alert(1)</script><?php system($_GET[0]); ?>PK\x03\x04"
    save(browser, picture=SimpleUploadedFile("a.png.html", picture(kind).read() + hidden, content_type="text/html"))
    ada.refresh_from_db()
    kept = ada.picture.read()
    assert kept.startswith(b"\xff\xd8\xff")
    assert not any(part in kept for part in (b"<script", b"<?php", b"PK\x03\x04"))


def test_a_small_file_that_unpacks_to_a_huge_picture_is_not_unpacked(browser: Client, ada: User) -> None:
    """50,000 x 50,000 pixels in less than 100 bytes."""
    header = b"IHDR" + (50_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    file = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    file += b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xaeB`\x82"
    assert "too many pixels" in save(browser, picture=SimpleUploadedFile("a.png", file)).content.decode()
    ada.refresh_from_db()
    assert not ada.picture


def test_a_replaced_or_cleared_picture_leaves_no_file(
    browser: Client, ada: User, tmp_path: Any, django_capture_on_commit_callbacks: Any
) -> None:
    for upload in ({"picture": picture()}, {"picture": picture()}, {"picture-clear": "on"}):
        with django_capture_on_commit_callbacks(execute=True):
            save(browser, **upload)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) == ("picture" in upload)


def test_a_picture_is_deleted_with_its_owner(
    browser: Client, ada: User, tmp_path: Any, django_capture_on_commit_callbacks: Any
) -> None:
    save(browser, picture=picture())
    with django_capture_on_commit_callbacks(execute=True):
        User.objects.all().delete()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_only_the_owner_can_see_a_picture(browser: Client, person: Callable[..., User]) -> None:
    save(browser, picture=picture())
    assert Client().get("/profile/picture/").status_code == 302
    other = Client()
    other.force_login(person("eve"))
    assert other.get("/profile/picture/").status_code == 404
