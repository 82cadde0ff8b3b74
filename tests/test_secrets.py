"""Passwords and tokens are in no log and no error report."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from django.core import mail
from django.test import Client, RequestFactory
from django.views.debug import ExceptionReporter
from pymongo.errors import ServerSelectionTimeoutError

from accounts.models import User
from sync.mongodb import errors

SECRET = "hush-hush-42"
ADDRESS = f"mongodb://portal:{SECRET}@127.0.0.1:9/analytics?replicaSet=rs0"


def report(settings: Any, request: Any, *, debug: bool) -> str:
    """Django's error report, as HTML and as text, of an error during this request."""
    settings.DEBUG = debug
    try:
        raise ValueError("something")
    except ValueError:
        reporter = ExceptionReporter(request, *sys.exc_info())
    return reporter.get_traceback_html() + reporter.get_traceback_text()


@pytest.mark.parametrize("debug", [True, False])
def test_an_error_report_hides_secrets_in_settings_and_environment(settings: Any, debug: bool) -> None:
    settings.MONGODB_URI = ADDRESS
    settings.SYNC_TARGETS = {"eu": ADDRESS}
    settings.SYNC_KAFKA = {"bootstrap.servers": "kafka:9092", "sasl.password": SECRET}
    settings.SYNC_METRICS_TOKEN = settings.EMAIL_HOST_PASSWORD = settings.SECRET_KEY = SECRET
    environment = {
        "DATABASE_URL": f"mysql://portal:{SECRET}@db/a", "MONGODB_URI": ADDRESS, "HTTP_COOKIE": f"sessionid={SECRET}",
        "EMAIL_URL": f"smtp+tls://me%40example.com:{SECRET}@mail:587", "HTTP_AUTHORIZATION": f"Bearer {SECRET}",
        "CACHE_URL": f"rediscache://:{SECRET}@cache:6379/1",
    }  # fmt: skip
    text = report(settings, RequestFactory().get("/", **environment), debug=debug)
    assert SECRET not in text
    assert "mongodb://portal:***@127.0.0.1:9/analytics" in text, "the rest of an address helps to find the cause"


@pytest.mark.parametrize("debug", [True, False])
def test_an_error_report_hides_submitted_passwords(settings: Any, debug: bool) -> None:
    names = ("password", "password1", "password2", "oldpassword", "code", "csrfmiddlewaretoken")
    request = RequestFactory().post("/login/", dict.fromkeys(names, SECRET) | {"login": "ada"})
    text = report(settings, request, debug=debug)
    assert SECRET not in text
    assert "ada" in text


@pytest.mark.django_db
def test_no_log_contains_a_submitted_password(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right, wrong and weak passwords, and a crash during a login."""
    caplog.set_level(logging.DEBUG)
    User.objects.create_user("ada", "ada@example.com", SECRET)
    both = {"password1": SECRET, "password2": SECRET}
    names = {"first_name": "A", "last_name": "B", "username": "grace", "email": "g@example.com", "requested_role": ""}
    client = Client(raise_request_exception=False)
    client.post("/register/", names | both)
    client.post("/login/", {"login": "eve", "password": SECRET})
    client.post("/login/", {"login": "ada", "password": SECRET})
    client.post("/reauthenticate/", {"password": SECRET})
    client.post("/password/change/", {"oldpassword": SECRET, **both})

    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a bug in the portal")

    monkeypatch.setattr("accounts.backends.RoleBackend.authenticate", crash)
    assert (
        Client(raise_request_exception=False).post("/login/", {"login": "ada", "password": SECRET}).status_code == 500
    )
    assert "a bug in the portal" in caplog.text, "caplog must capture the log"
    django = [record for record in caplog.records if not record.name.startswith("django.db")]
    assert SECRET not in "\n".join(record.getMessage() + str(record.exc_text or "") for record in django)
    assert SECRET not in "".join(str(message.body) for message in mail.outbox)


@pytest.mark.django_db
def test_no_page_and_no_log_contains_a_database_password(
    caplog: pytest.LogCaptureFixture, settings: Any, client: Client
) -> None:
    """While MongoDB is unreachable or rejects the login, which is when messages mention its address."""
    caplog.set_level(logging.DEBUG)
    assert SECRET not in errors.reason(ServerSelectionTimeoutError(f"127.0.0.1:9: refused, {ADDRESS}"))
    root = User.objects.create_superuser("root", "root@example.com", "a-password-9")
    client.force_login(root)
    for path in ("/sync/", "/readyz", "/metrics"):
        body = client.get(path).content.decode()
        assert "portal-test" not in body, "the test server's password"
        assert "mysql://" not in body
    assert "portal-test" not in caplog.text
