"""Secrets of second factors are encrypted in the database, can be rotated and are never displayed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client

from accounts.encryption import decrypt, secrets_of
from accounts.management.commands import rotate_secrets
from accounts.models import User
from accounts.tests.support import code_of

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]

OLD, NEW = "an-old-key-of-more-than-32-characters", "a-new-key-of-more-than-32-characters-"
migration = import_module("accounts.migrations.0004_encrypted_second_factors")


@pytest.fixture
def secret(ada: User) -> str:
    secret = generate_totp_secret()
    TOTP.activate(ada, secret)
    RecoveryCodes.activate(ada)
    return secret


def stored() -> str:
    """All second factors as stored, read with SQL."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT data FROM mfa_authenticator")
        return json.dumps([json.loads(data) if isinstance(data, str) else data for (data,) in cursor.fetchall()])


def totp() -> Any:
    return Authenticator.objects.get(type="totp").wrap()


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("rotate_secrets", *arguments, stdout=out, stderr=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_no_secret_is_in_the_database(ada: User, secret: str) -> None:
    codes = Authenticator.objects.get(type="recovery_codes").wrap()
    seed = decrypt(codes.instance.data["seed"])
    assert secret not in stored()
    assert seed not in stored()
    assert totp().validate_code(code_of(secret))
    assert codes.validate_code(codes.get_unused_codes()[0])


def test_the_migration_encrypts_secrets_stored_in_plain_text(ada: User) -> None:
    secret = generate_totp_secret()
    Authenticator.objects.create(user=ada, type="totp", data={"secret": secret})
    Authenticator.objects.create(
        user=ada, type="recovery_codes", data={"seed": "a1b2", "used_mask": 3, "migrated_codes": ["c3d4", "e5f6"]}
    )
    editor = SimpleNamespace(connection=connection)
    migration.encrypt_all(apps, editor)
    migration.encrypt_all(apps, editor)  # a second run does not encrypt again
    assert not any(text in stored() for text in (secret, "a1b2", "c3d4", "e5f6"))
    assert totp().validate_code(code_of(secret))
    data = Authenticator.objects.get(type="recovery_codes").data
    assert [decrypt(container[place]) for container, place in secrets_of(data)] == ["a1b2", "c3d4", "e5f6"]  # type: ignore[index]
    assert data["used_mask"] == 3
    migration.decrypt_all(apps, editor)
    assert secret in stored()


def test_a_key_can_be_rotated(ada: User, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    secret = generate_totp_secret()
    TOTP.activate(ada, secret)
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    assert totp().validate_code(code_of(secret))
    before = stored()
    assert run("--dry-run")[1].startswith("Second factors would be encrypted with the first key: 1")
    assert stored() == before
    assert run() == (0, "Second factors encrypted with the first key: 1\n")
    settings.ENCRYPTION_KEYS = [NEW]
    assert decrypt(totp().instance.data["secret"]) == secret


def test_without_encryption_keys_the_secret_key_can_be_rotated(ada: User, settings: Any) -> None:
    settings.ENCRYPTION_KEYS, settings.SECRET_KEY = [], OLD
    secret = generate_totp_secret()
    TOTP.activate(ada, secret)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    assert run()[0] == 0
    settings.SECRET_KEY_FALLBACKS = []
    assert decrypt(totp().instance.data["secret"]) == secret


def test_a_secret_that_no_key_decrypts_blocks_no_other_and_lets_nobody_in(
    person: Callable[..., User], ada: User, secret: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tom = person("tom")
    Authenticator.objects.create(user=tom, type="totp", data={"secret": "gAAAAnonsense"})
    status, output = run()
    assert status == 1
    assert "encrypted with the first key: 2" in output
    assert f"No key decrypts 1 of them, of the users with these ids: {tom.pk}." in output
    theirs: Any = Authenticator.objects.get(user=tom).wrap()
    for guess in ("", secret, "AAAAAAAA"):
        assert not theirs.validate_code(code_of(guess) if guess else "000000")
    assert "No key decrypts the secret" in caplog.text


@pytest.mark.parametrize("data", [[], "text", {"secret": None}, {"migrated_codes": [1, None]}])
def test_malformed_second_factors_do_not_stop_the_rotation(
    person: Callable[..., User], secret: str, settings: Any, data: Any
) -> None:
    Authenticator.objects.create(user=person("tom"), type="totp", data=data)
    settings.ENCRYPTION_KEYS = [NEW, settings.SECRET_KEY]
    assert run()[0] == 0
    settings.ENCRYPTION_KEYS = [NEW]
    assert decrypt(Authenticator.objects.get(user__username="ada", type="totp").data["secret"]) == secret
    migration.encrypt_all(apps, SimpleNamespace(connection=connection))
    assert Authenticator.objects.get(user__username="tom").data == data


def test_a_long_rotation_reports_its_progress(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate_secrets, "TOLD_EVERY", 1)
    assert run()[1].splitlines()[:2] == ["1 of 2", "2 of 2"]


def test_the_admin_neither_shows_nor_changes_secrets(ada: User, superuser: User, secret: str) -> None:
    browser = Client()
    browser.force_login(superuser)
    assert browser.get("/admin/mfa/authenticator/add/").status_code == 403
    for authenticator in Authenticator.objects.all():
        page = browser.get(f"/admin/mfa/authenticator/{authenticator.pk}/change/").content.decode()
        assert "gAAAA" not in page
        assert secret not in page
        before = stored()
        browser.post(f"/admin/mfa/authenticator/{authenticator.pk}/change/", {"data": "{}", "type": "totp"})
        assert stored() == before
