"""Uploads: reads an uploaded picture, and keeps one file of it as long as its user's row names it.

Bytes are counted while they arrive (UploadLimit). Pixels, memory and time are limited in accounts.picture_decoder, a
separate process for each picture. One picture at a time is read for each user and by each worker.
"""

from __future__ import annotations

import logging
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from io import BytesIO
from typing import Any

from django.core.exceptions import RequestDataTooBig, ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.db import DatabaseError, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import picture_decoder
from accounts.models import PictureLease, User

MAX_BYTES = 5 * 1024 * 1024
MAX_REQUEST_BYTES = 64 * 1024 * 1024  # a larger request is refused unread; below, the form says what is too large
CONTENT_TYPE = "image/jpeg"
SECONDS = 10  # for one picture, on a busy machine; its processor time has a tighter limit
SEATS = 2  # of a worker's threads: one reads a picture, one waits. All others stay free for other pages
LEASE = timedelta(seconds=2 * SECONDS + 10)  # longer than waiting and reading together

STORAGE = User._meta.get_field("picture").storage
FOLDER = str(User._meta.get_field("picture").upload_to)
SETTLED = timedelta(hours=1)  # a younger file may belong to a transaction that is not committed

UNREADABLE = _("This file is not a readable picture. Choose a JPEG, PNG or WebP file.")
TOO_LONG = _("The picture takes too long to process. Save it in another format or size.")
PROBLEMS = {
    picture_decoder.UNREADABLE: UNREADABLE,
    picture_decoder.TOO_MANY_PIXELS: _("The picture has too many pixels. Choose a smaller one."),
    picture_decoder.TOO_MUCH_MEMORY: _("The picture needs too much memory. Save it in another format or size."),
    picture_decoder.OUT_OF_TIME: TOO_LONG,
}

logger = logging.getLogger(__name__)
_seats = threading.BoundedSemaphore(SEATS)
_reading = threading.Lock()


class UploadLimit(FileUploadHandler):
    """The first upload handler: of all files of a request together, only MAX_BYTES reach memory or disk.

    A file that is cut off has its true size and no content.
    """

    def handle_raw_input(self, input_data: Any, META: Any, content_length: int, *args: Any) -> None:
        if content_length > MAX_REQUEST_BYTES:
            raise RequestDataTooBig("A request with files is larger than the portal accepts.")
        self.kept = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.is_cut_off = False

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        self.kept += len(raw_data)
        self.is_cut_off = self.kept > MAX_BYTES
        return None if self.is_cut_off else raw_data

    def file_complete(self, file_size: int) -> UploadedFile | None:
        if not self.is_cut_off:
            return None
        return UploadedFile(BytesIO(), self.file_name, self.content_type, file_size, self.charset)


class Picture(ContentFile):
    """The result of read(). Forms accept no other file."""


def read(upload: UploadedFile, person: User) -> Picture:
    """A small JPEG of what the upload shows, without anything else that it holds (location, camera, hidden files).

    Raises ValidationError with what to do. Call it outside a transaction: it can run for SECONDS, twice.
    """
    if (upload.size or 0) > MAX_BYTES:
        raise ValidationError(_("The picture is larger than 5 MB. Choose a smaller one."))
    with _turn_of(person), _seat():
        content = _decode(upload.read())
    return Picture(content, name=f"{secrets.token_hex(16)}.jpg")


@contextmanager
def _turn_of(person: User) -> Iterator[None]:
    """One picture of a user at a time, whichever worker reads it. The lease of a killed worker expires."""
    now = timezone.now()
    until = now + LEASE
    PictureLease.objects.get_or_create(person=person, defaults={"until": now})
    if not PictureLease.objects.filter(person=person, until__lte=now).update(until=until):
        raise ValidationError(_("Another picture of yours is being processed. Wait, then choose this one again."))
    try:
        yield
    finally:
        PictureLease.objects.filter(person=person, until=until).update(until=timezone.now())


@contextmanager
def _seat() -> Iterator[None]:
    """One picture at a time in this worker. One more waits; all others are refused at once."""
    busy = ValidationError(_("Other pictures are being processed. Wait, then choose this one again."))
    if not _seats.acquire(blocking=False):
        raise busy
    try:
        if not _reading.acquire(timeout=SECONDS):
            raise busy
        try:
            yield
        finally:
            _reading.release()
    finally:
        _seats.release()


def _decode(content: bytes) -> bytes:
    command = [sys.executable, "-I", picture_decoder.__file__]
    try:
        done = subprocess.run(command, input=content, capture_output=True, env={}, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ValidationError(TOO_LONG) from error
    if done.returncode == picture_decoder.DONE:
        return done.stdout
    if done.returncode in PROBLEMS:
        raise ValidationError(PROBLEMS[done.returncode])
    if done.returncode < 0:  # it crashed
        raise ValidationError(UNREADABLE)
    logger.error("The decoder does not run: %s", done.stderr.decode(errors="replace").strip() or done.returncode)
    raise ValidationError(_("Pictures cannot be processed now. Save your profile without one, and tell staff."))


# --- files -----------------------------------------------------------------------------------------------------------
# A file is written before the row that names it and removed after the last row that did, both depending on the outcome
# of the transaction. A process killed in between may leave a file without a row, but never a row without its file.


@contextmanager
def transaction_with_files() -> Iterator[list[tuple[Any, str]]]:
    """A transaction. The list is of the files that it writes (user's key, name): a rollback removes them."""
    written: list[tuple[Any, str]] = []
    try:
        with transaction.atomic():
            yield written
    except BaseException:
        for key, name in written:
            _remove_unless_named(key, name)
        raise


def remove_after_commit(key: Any, name: str | None) -> None:
    """Removes the file of a user's picture once their row is committed without it."""
    if name:
        transaction.on_commit(partial(_remove_unless_named, key, name))


def orphans() -> Iterator[str]:
    """The names of files that no row names, and that no transaction is about to name."""
    settled = timezone.now() - SETTLED
    try:
        files = [f"{FOLDER}/{file}" for file in STORAGE.listdir(FOLDER)[1]]
    except FileNotFoundError:  # no user has had a picture yet
        return
    named = set(User.objects.exclude(picture="").values_list("picture", flat=True).iterator())
    for name in files:
        with suppress(FileNotFoundError):  # a request has removed it meanwhile
            if name not in named and STORAGE.get_modified_time(name) < settled:
                yield name


def _remove_unless_named(key: Any, name: str) -> None:
    """Only the row itself tells how the transaction ended: a connection may break during the commit.

    If the database or the folder is unreachable, the file stays, and `pictures_prune` removes it.
    """
    try:
        if not User.objects.filter(pk=key, picture=name).exists():
            STORAGE.delete(name)
    except (DatabaseError, OSError):
        logger.warning("A picture's file was not removed: %s. Run: manage.py pictures_prune", name, exc_info=True)


@receiver(post_delete, sender=User)
def remove_with_person(instance: User, **kwargs: Any) -> None:
    """Deletes a user's picture together with the user."""
    remove_after_commit(instance.pk, instance.picture.name)
