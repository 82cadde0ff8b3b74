"""Planted secrets appear nowhere: not in pages, exports, logs, reports, emails, commands, processes or MongoDB."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from allauth.account.forms import default_token_generator
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.views.debug import ExceptionReporter
from pymongo.database import Database

from accounts import encryption
from accounts.encryption import decrypt
from accounts.tests.conftest import PASSWORD
from finance.models import Account
from tests.world import World

pytestmark = pytest.mark.django_db

SETTINGS = {
    "SECRET_KEY": "canary-secret-key", "ENCRYPTION_KEYS": ["canary-encryption-key-of-32-characters"],
    "SECRET_KEY_FALLBACKS": ["canary-fallback"], "SYNC_METRICS_TOKEN": "canary-metrics-token",
    "EMAIL_HOST_PASSWORD": "canary-mail-password", "SYNC_ALERT_WEBHOOK": "http://127.0.0.1:9/canary-webhook-path",
    "SYNC_ALERT_WEBHOOK_SECRET": "canary-webhook-secret",
    "SYNC_KAFKA": {"bootstrap.servers": "127.0.0.1:9", "sasl.password": "canary-kafka-password"},
}  # fmt: skip
DATABASE_PASSWORD = "portal-test"
SHOWS_CODES = "recovery-codes"  # in the addresses that show them to their owner, after the password was confirmed
COMMANDS = [
    ["check"], ["sync", "status"], ["sync", "status", "--json"], ["sync", "verify"], ["sync", "--help"],
    ["rotate_secrets", "--dry-run"], ["rotate_secrets", "--help"], ["showmigrations"], ["import_dataset", "--help"],
]  # fmt: skip


def words(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from words(each)
    elif isinstance(value, list):
        for each in value:
            yield from words(each)
    else:
        yield str(value)


@pytest.fixture
def planted(made: World, settings: Any, live_settings: None) -> dict[str, str]:
    """The text of each secret, by name."""
    superuser = made.people["superuser"]
    totp = Authenticator.objects.get(user=superuser, type="totp")
    codes: Any = Authenticator.objects.get(user=superuser, type="recovery_codes")
    canaries = {f"recovery code {number}": code for number, code in enumerate(codes.wrap().get_unused_codes())}
    canaries |= {
        "password as typed": PASSWORD, "password hash": superuser.password, "password of MySQL": DATABASE_PASSWORD,
        "second factor": decrypt(totp.data["secret"]), "second factor, encrypted": totp.data["secret"],
        "reset key": default_token_generator.make_token(superuser),
        **{f"session of {who}": client.cookies["sessionid"].value for who, client in made.clients.items()},
    }  # fmt: skip
    for name, value in SETTINGS.items():
        for word in words(value):
            if "canary" in word:
                canaries[name] = word
    return canaries


@pytest.fixture
def live_settings(settings: Any) -> None:
    """Plants the secrets that can change after login. The world's sessions and secrets depend on the other settings."""
    for name, value in SETTINGS.items():
        if name not in ("SECRET_KEY", "ENCRYPTION_KEYS"):
            setattr(settings, name, value)


def require_none(canaries: dict[str, str], where: str, text: str) -> None:
    assert [name for name, word in canaries.items() if word in text] == [], where


def text_of(answer: Any) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return f"{answer.headers}{content.decode(errors='replace')}"


def test_no_page_export_log_or_email_contains_a_secret(
    made: World,
    planted: dict[str, str],
    covered: dict[str, set[str]],
    caplog: pytest.LogCaptureFixture,
    mailoutbox: list[EmailMessage],
) -> None:
    caplog.set_level(logging.DEBUG)
    cache.clear()
    for who, client in made.clients.items():
        covered["roles"].add(who)
        for route, address in made.addresses().items():
            if "logout" in route or SHOWS_CODES in address:
                continue
            covered["addresses"].add(route)
            require_none(planted, f"{who} {address}", text_of(client.get(address)))
    logged = [record for record in caplog.records if not record.name.startswith("django.db")]
    require_none(planted, "the log", "\n".join(record.getMessage() + str(record.exc_text or "") for record in logged))
    require_none(planted, "an email", "".join(f"{message.subject}{message.body}" for message in mailoutbox))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_prints_a_secret(planted: dict[str, str], command: list[str]) -> None:
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output), suppress(SystemExit):
        call_command(*command, stdout=output, stderr=output)
    assert output.getvalue()
    require_none(planted, " ".join(command), output.getvalue())


def test_no_process_has_a_secret_in_its_command_line(planted: dict[str, str]) -> None:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            lines.append((process / "cmdline").read_bytes().decode(errors="replace"))
    assert len(lines) > 3
    # The name of the tests' server folder contains a password.
    require_none(planted, "ps", "\n".join(lines).replace("portal-tests-", ""))


def test_no_document_contains_a_secret(planted: dict[str, str], mongo: Database) -> None:
    Account.objects.first().save()  # type: ignore[union-attr]
    text = "".join(str(document) for name in mongo.list_collection_names() for document in mongo[name].find())
    require_none(planted, "MongoDB", text)


@pytest.mark.parametrize("by", ["SECRET_KEY", "ENCRYPTION_KEYS"])
def test_no_error_report_contains_a_key(settings: Any, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Not even the report of an error in code that uses the key, with the variables of each frame."""
    settings.SECRET_KEY = SETTINGS["SECRET_KEY"]
    settings.ENCRYPTION_KEYS = SETTINGS["ENCRYPTION_KEYS"] if by == "ENCRYPTION_KEYS" else []

    def fail(*args: Any) -> None:
        raise RuntimeError("a bug in the portal")

    monkeypatch.setattr(encryption, "MultiFernet", fail)
    try:
        encryption.encrypt("text")
    except RuntimeError as error:
        reporter: Any = ExceptionReporter(None, type(error), error, error.__traceback__)
    text = reporter.get_traceback_html() + reporter.get_traceback_text()
    assert "a bug in the portal" in text
    assert [word for word in words(SETTINGS) if word in text and len(word) > 20] == []


def test_a_leaked_secret_would_be_detected(planted: dict[str, str]) -> None:
    assert len(planted) > 15
    with pytest.raises(AssertionError):
        require_none(planted, "here", f"... {planted['second factor']} ...")
