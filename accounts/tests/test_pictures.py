"""Uploads: what is accepted, what it costs, and that no file is left behind."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.test import Client, RequestFactory
from django.utils import timezone
from PIL import Image

from accounts import picture_decoder, pictures
from accounts.forms import ProfileForm
from accounts.models import PictureLease, User
from accounts.tests.hostile_pictures import HOSTILE, PICTURE, SCRIPT, content, encoded, photo

really_committed = pytest.mark.django_db(transaction=True)


def upload(data: bytes | None = None) -> SimpleUploadedFile:
    data = encoded(photo(), "PNG") if data is None else data
    return SimpleUploadedFile("me.jpg", data, content_type="image/jpeg")


def save(browser: Client, **changes: Any) -> Any:
    return browser.post("/profile/", {"first_name": "Ada", "last_name": "Byron", "address": "", **changes})


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture
def browser(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


# --- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_becomes_a_small_picture_or_an_error_message(
    browser: Client, ada: User, media: Path, name: str
) -> None:
    expected = HOSTILE[name][1]
    response = save(browser, picture=upload(content(name)))
    ada.refresh_from_db()
    if response.status_code == 302:
        assert expected in (PICTURE, None)
        kept = ada.picture.read()
        with Image.open(io.BytesIO(kept)) as image:
            image.load()
            assert (image.format, image.size, image.mode) == ("JPEG", (384, 384), "RGB")
            assert not image.getexif()
        assert not any(part in kept for part in (SCRIPT[:20], b"PK\x03\x04"))
        assert files(media) == [ada.picture.name]
    else:
        assert response.status_code == 200
        (message,) = response.context["form"].errors["picture"]
        assert not ada.picture
        assert files(media) == []
        is_too_slow = "megapixels" in name and message == str(pictures.TOO_LONG)  # for this machine's processor
        assert is_too_slow or (expected != PICTURE and (expected or "Choose a JPEG, PNG or WebP file.") in message)


def test_a_16_bit_picture_keeps_its_shades(browser: Client, ada: User) -> None:
    save(browser, picture=upload(content("grey png of 16 bits")))
    ada.refresh_from_db()
    with Image.open(ada.picture) as image:
        darkest, lightest = image.convert("L").getextrema()
    assert darkest < 20
    assert lightest > 200


def test_transparency_becomes_white(browser: Client, ada: User) -> None:
    save(browser, picture=upload(encoded(Image.new("RGBA", (50, 50), (255, 0, 0, 0)), "PNG")))
    ada.refresh_from_db()
    with Image.open(ada.picture) as image:
        assert image.getpixel((190, 190)) == (255, 255, 255)


def test_a_file_over_the_limit_is_discarded_on_arrival() -> None:
    data = b"x" * (pictures.MAX_BYTES + 1)
    request = RequestFactory().post("/profile/", {"picture": upload(data), "other": upload(b"y" * 1000)})
    sent = request.FILES["picture"]
    assert (sent.size, sent.read()) == (len(data), b"")
    assert request.FILES["other"].read() == b""


def test_several_files_share_the_limit() -> None:
    each = b"x" * (pictures.MAX_BYTES // 4)
    request = RequestFactory().post("/profile/", {f"file{number}": upload(each) for number in range(10)})
    assert len(b"".join(sent.read() for sent in request.FILES.values())) <= pictures.MAX_BYTES


def test_a_request_that_is_far_too_large_is_refused_unread(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_REQUEST_BYTES", 10_000)
    assert save(browser, picture=upload(b"x" * 20_000)).status_code == 400
    stranger = Client(enforce_csrf_checks=True)
    stranger.get("/login/")
    assert stranger.post("/login/", {"file": upload(b"x" * 20_000)}).status_code == 400


@pytest.mark.django_db
def test_the_form_rejects_a_file_that_was_not_decoded(ada: User) -> None:
    form = ProfileForm({"first_name": "Ada"}, {"picture": upload()}, instance=ada)
    with pytest.raises(TypeError, match="has not read"):
        form.is_valid()


# --- what it costs ---------------------------------------------------------------------------------------------------


@contextmanager
def decoder(folder: Path, program: str) -> Iterator[None]:
    """Replaces the decoder with another program."""
    path = folder / "program.py"
    path.write_text(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_decoder, "__file__", str(path))
        yield


LIMITED = f"""
import runpy, sys
runpy.run_path({picture_decoder.__file__!r})["limit_this_process"]()
"""


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import time; time.sleep(60)", "takes too long"),
        (LIMITED + "while True: pass", "takes too long"),
        (LIMITED + f"sys.exit({picture_decoder.UNREADABLE} if bytes(300_000_000) else 0)", "cannot be processed now"),
        (LIMITED + "open(__file__ + '.out', 'wb', 0).write(b'x')", "cannot be processed now"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "This file is not a readable"),
        ("raise ImportError('no Pillow')", "cannot be processed now"),
    ],
    ids=["sleeps", "computes", "takes memory", "writes", "crashes", "does not start"],
)
def test_the_form_reports_every_failure_of_the_decoder(
    browser: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(pictures, "SECONDS", 5 if "while" in program else 2)
    with decoder(tmp_path, program):
        response = save(browser, picture=upload())
    assert response.status_code == 200
    assert words in response.context["form"].errors["picture"][0]
    monkeypatch.undo()
    assert save(browser, picture=upload()).status_code == 302, "the previous upload still blocks this one"


def test_the_log_says_why_pictures_cannot_be_read(
    browser: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with decoder(tmp_path, "raise ImportError('no Pillow')"):
        save(browser, picture=upload())
    assert "no Pillow" in caplog.text


@pytest.mark.django_db
def test_the_decoder_does_not_see_the_portals_environment(ada: User, tmp_path: Path) -> None:
    with decoder(tmp_path, "import os, sys; sys.stdout.write(repr([*os.environ, *sys.path]))"):
        output = pictures.read(upload(), ada).read()
    assert b"site-packages" in output
    assert b"SECRET_KEY" not in output
    assert b"DATABASE_URL" not in output
    assert str(Path.cwd()).encode() + b"'" not in output


@really_committed
@pytest.mark.engine
def test_concurrent_requests_decode_one_picture_per_user(ada: User) -> None:
    """Each thread has its own database connection, like a separate worker."""
    begin, refused, refusals = threading.Barrier(8), threading.Semaphore(0), []

    def try_it(_number: int) -> bool:
        begin.wait()
        try:
            with pictures._turn_of(ada):
                return all(refused.acquire(timeout=20) for _ in range(7))
        except ValidationError as error:
            refusals.extend(error.messages)
            refused.release()
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(try_it, range(8))) == [False] * 7 + [True]
    assert [text[:24] for text in refusals] == ["Another picture of yours"] * 7
    with pictures._turn_of(ada):
        pass


@pytest.mark.django_db
def test_a_user_who_sends_two_pictures_at_once_is_told(browser: Client, ada: User, person: Callable[..., User]) -> None:
    other = person("eve")
    with pictures._turn_of(ada):
        response = save(browser, picture=upload())
        assert "Another picture of yours is being processed" in response.content.decode()
        assert save(browser, last_name="Lovelace").status_code == 302, "the other fields can be saved meanwhile"
        assert pictures.read(upload(), other)
    assert save(browser, picture=upload()).status_code == 302


@pytest.mark.django_db
def test_the_lease_of_a_killed_worker_expires(browser: Client, ada: User) -> None:
    PictureLease.objects.create(person=ada, until=timezone.now() + timedelta(minutes=1))
    assert save(browser, picture=upload()).status_code == 200
    PictureLease.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert save(browser, picture=upload()).status_code == 302


@really_committed
def test_a_worker_decodes_one_picture_and_queues_one(
    person: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [person(name) for name in ("one", "two", "three", "four")]
    go_on, at_once, most = threading.Event(), [0], [0]

    def decode(content: bytes) -> bytes:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        assert go_on.wait(20)
        at_once[0] -= 1
        return content

    def read(user: User) -> str:
        try:
            return pictures.read(upload(), user).name[-4:]
        except ValidationError as error:
            return error.messages[0][:14]
        finally:
            connection.close()

    monkeypatch.setattr(pictures, "_decode", decode)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(read, user) for user in people]
        deadline = time.monotonic() + 20
        while sum(answer.done() for answer in answers) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [answer.result() for answer in answers if answer.done()] == ["Other pictures"] * 2
        go_on.set()
        assert sorted(answer.result() for answer in answers) == [".jpg"] * 2 + ["Other pictures"] * 2
    assert most == [1]


@really_committed
def test_no_row_is_locked_while_a_picture_is_decoded(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(content: bytes) -> bytes:
        assert not connection.in_atomic_block
        return content

    monkeypatch.setattr(pictures, "_decode", decode)
    assert save(browser, picture=upload()).status_code == 302


# --- files -----------------------------------------------------------------------------------------------------------


@really_committed
@pytest.mark.engine
def test_a_save_that_fails_keeps_the_old_file_and_leaves_no_new_one(
    browser: Client, ada: User, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(browser, picture=upload())
    before = files(media)
    assert len(before) == 1
    real, seen = ProfileForm.save, []

    def fail(form: ProfileForm, commit: bool = True) -> Any:
        real(form, commit)
        seen.append(len(files(media)))
        raise RuntimeError("the database is full")

    monkeypatch.setattr(ProfileForm, "save", fail)
    browser.raise_request_exception = False
    assert save(browser, picture=upload()).status_code == 500
    assert files(media) == before
    assert save(browser, **{"picture-clear": "on"}).status_code == 500
    assert files(media) == before
    assert seen == [2, 1], "the new file exists before the commit, and the old file until the commit"
    ada.refresh_from_db()
    assert ada.picture.name == before[0]


@really_committed
def test_a_full_disk_leaves_no_partial_file(
    browser: Client, ada: User, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(storage: FileSystemStorage, name: str, content: Any) -> str:
        real(storage, name, ContentFile(content.read()[:10]))
        raise OSError(28, "No space left on device")

    real = FileSystemStorage._save
    browser.raise_request_exception = False
    with monkeypatch.context() as patch:
        patch.setattr(FileSystemStorage, "_save", write)
        assert save(browser, picture=upload()).status_code == 500
    assert files(media) == []
    assert save(browser, picture=upload()).status_code == 302
    assert len(files(media)) == 1


@really_committed
def test_a_refused_form_leaves_no_file(browser: Client, media: Path) -> None:
    assert save(browser, picture=upload(), address="x" * 501).status_code == 200
    assert save(browser, picture=upload(), **{"picture-clear": "on"}).status_code == 200
    assert save(browser, picture=upload(), version="of another time").status_code == 409
    assert files(media) == []


@really_committed
def test_a_rolled_back_deletion_keeps_the_file(browser: Client, ada: User, media: Path) -> None:
    save(browser, picture=upload())
    with transaction.atomic():
        User.objects.all().delete()
        transaction.set_rollback(True)
    assert len(files(media)) == 1
    User.objects.all().delete()
    assert files(media) == []


@really_committed
def test_two_pictures_at_once_leave_one_file(browser: Client, ada: User, media: Path) -> None:
    """This holds whether both are processed one after the other or one is refused."""
    other = Client()
    other.force_login(ada)

    def send(client: Client) -> int:
        try:
            return save(client, picture=upload()).status_code
        finally:
            connection.close()

    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            assert {*pool.map(send, [browser, other])} <= {200, 302}
    ada.refresh_from_db()
    assert files(media) == [ada.picture.name]


@pytest.mark.django_db
def test_orphaned_pictures_are_removed_once_they_are_an_hour_old(
    browser: Client, ada: User, media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("pictures_prune")
    assert "0 orphaned pictures removed." in capsys.readouterr().out
    save(browser, picture=upload())
    ada.refresh_from_db()
    for name in ("old.jpg", "young.jpg"):
        (media / "pictures" / name).write_bytes(b"x")
    long_ago = time.time() - 2 * 3600
    for name in ("pictures/old.jpg", ada.picture.name):
        os.utime(media / name, (long_ago, long_ago))
    call_command("pictures_prune", "--dry-run")
    assert "1 orphaned picture would be removed." in capsys.readouterr().out
    assert len(files(media)) == 3
    call_command("pictures_prune")
    assert "1 orphaned picture removed." in capsys.readouterr().out
    assert files(media) == sorted(["pictures/young.jpg", ada.picture.name])


@pytest.mark.django_db
def test_an_unreadable_folder_is_reported_in_one_line(media: Path) -> None:
    media.mkdir()
    (media / "pictures").write_text("a file")
    with pytest.raises(CommandError, match="Not a directory") as error:
        call_command("pictures_prune")
    assert error.value.returncode == 1


@really_committed
def test_a_file_that_cannot_be_removed_is_left_for_pictures_prune(
    browser: Client, media: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The upload succeeds, and the log says how to remove the old file."""

    def refuse(storage: FileSystemStorage, name: str) -> None:
        raise PermissionError(13, "Permission denied", name)

    save(browser, picture=upload())
    monkeypatch.setattr(FileSystemStorage, "delete", refuse)
    assert save(browser, picture=upload()).status_code == 302
    assert len(files(media)) == 2
    assert "Run: manage.py pictures_prune" in caplog.text


@really_committed
def test_a_commit_with_unknown_outcome_keeps_the_file(
    browser: Client, ada: User, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the server committed but before it confirmed the commit."""
    browser.raise_request_exception = False
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "transaction", SimpleNamespace(atomic=committed_and_lost, on_commit=None))
        assert save(browser, picture=upload()).status_code == 500
    ada.refresh_from_db()
    assert files(media) == [ada.picture.name]


@contextmanager
def committed_and_lost() -> Iterator[None]:
    with transaction.atomic():
        yield
    raise RuntimeError("lost")
