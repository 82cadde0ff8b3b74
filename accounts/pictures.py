"""Making an uploaded picture safe to keep and to show."""

from __future__ import annotations

import secrets
import warnings
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils.translation import gettext as _
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from accounts.models import User

FORMATS = ["JPEG", "PNG", "WEBP"]
MAX_BYTES = 5 * 1024 * 1024
MAX_PIXELS = 25_000_000
SIDE = 384
CONTENT_TYPE = "image/jpeg"


def sanitise(upload: UploadedFile) -> ContentFile:
    """A small JPEG of what the upload shows and of nothing else that it holds (place, camera, hidden files).

    Bytes and pixels are counted before anything is decoded. Raises ValidationError with what to do.
    """
    if (upload.size or 0) > MAX_BYTES:
        raise ValidationError(_("The picture is larger than 5 MB. Choose a smaller one."))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return ContentFile(_encode(upload), name=f"{secrets.token_hex(16)}.jpg")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValidationError(_("The picture has too many pixels. Choose a smaller one.")) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValidationError(_("This is no picture that we can read. Choose a JPEG, PNG or WebP file.")) from error


def _encode(upload: UploadedFile) -> bytes:
    with Image.open(upload, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        square = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGBA"), (SIDE, SIDE))
    flat = Image.new("RGB", square.size, "white")
    flat.paste(square, mask=square)
    out = BytesIO()
    flat.save(out, "JPEG", quality=88)
    return out.getvalue()


@receiver(post_delete, sender="accounts.User")
def forget_picture(instance: User, **kwargs: Any) -> None:
    """A person's picture goes with the person."""
    if instance.picture.name:
        transaction.on_commit(partial(instance.picture.storage.delete, instance.picture.name))
