"""Secrets at rest: the secrets of second factors are stored in the database only in encrypted form.

The first key encrypts and all keys decrypt, so a key is rotated by putting a new one in front and running `manage.py
rotate_secrets`. Keys are derived from settings.ENCRYPTION_KEYS, or without them from SECRET_KEY and its fallbacks.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

__all__ = ["InvalidToken", "decrypt", "encrypt", "rotate", "secrets_of"]

PURPOSE = b"analytics portal: second factors"  # another use of the same setting would have another key


# Error reports show the variables of each frame, but not of these.
@sensitive_variables()
def encrypt(text: str) -> str:
    return _keys().encrypt(text.encode()).decode()


@sensitive_variables()
def decrypt(token: str) -> str:
    """Raises InvalidToken if no key decrypts it, for example a text that was never encrypted."""
    return _keys().decrypt(token.encode()).decode()


@sensitive_variables()
def rotate(token: str) -> str:
    """The same secret, encrypted with the first key. Raises InvalidToken like `decrypt`."""
    return _keys().rotate(token.encode()).decode()


def secrets_of(data: Any) -> Iterator[tuple[dict[str, Any] | list[Any], Any]]:
    """Where an authenticator's data has secrets: each as a container and its name or index there.

    Data written by another program may have any shape. Anything but text in a secret's place is not a secret.
    """
    if not isinstance(data, dict):
        return
    yield from ((data, name) for name in ("secret", "seed") if isinstance(data.get(name), str))
    if isinstance(codes := data.get("migrated_codes"), list):
        yield from ((codes, place) for place, code in enumerate(codes) if isinstance(code, str))


@sensitive_variables()
def _keys() -> MultiFernet:
    keys = settings.ENCRYPTION_KEYS or [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(key))) for key in keys])


@sensitive_variables()
def _derive(key: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(key.encode())
