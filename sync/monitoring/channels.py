"""The channels of alerts: mail and a webhook. A message is sent within a time limit, and an error names no secret."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.urls import NoReverseMatch, reverse

from sync.core import conf
from sync.monitoring.models import Notification

TIMEOUT = 10.0  # seconds that a server may take to respond


class Message(NamedTuple):
    """What people are told. key: the same for each attempt to send it, so that a receiver can drop a repetition."""

    key: str
    event: str
    subject: str
    text: str
    details: dict[str, Any]


def send(channel: str, message: Message) -> str:
    """Send the message. Return "" if the server accepted it, otherwise why it failed."""
    try:
        (_mail if channel == Notification.Channel.MAIL else _post)(message)
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return _reason(error.reason) if isinstance(error.reason, Exception) else "the address is not http or https"
    except Exception as error:  # of any mail backend
        return _reason(error)
    return ""


def _reason(error: object) -> str:
    # The text of other errors may quote the address, whose path is a secret of many receivers.
    name = type(error).__name__
    return f"{name}: {error.strerror}" if isinstance(error, OSError) and error.strerror else name


def console_url() -> str:
    """The address of the console; "" if the project does not say where it is."""
    origin = getattr(settings, "PORTAL_ORIGIN", "")
    try:
        return origin and f"{origin}{reverse('sync:console')}"
    except NoReverseMatch:
        return ""


def _mail(message: Message) -> None:
    sender = settings.DEFAULT_FROM_EMAIL
    name = getattr(settings, "PORTAL_NAME", "")
    domain = sender.rpartition("@")[2].rstrip(">") or "localhost"
    EmailMessage(
        subject=f"[{name}] {message.subject}" if name else message.subject,
        body="\n\n".join(filter(None, (message.text, console_url()))) + "\n",
        from_email=sender,
        to=list(conf.ALERT_EMAILS),
        headers={"Message-ID": f"<sync.{message.key}@{domain}>", "Auto-Submitted": "auto-generated"},
        connection=get_connection(timeout=TIMEOUT),
    ).send()


def _post(message: Message) -> None:
    body = json.dumps(
        {
            "event": message.event,
            "text": f"{message.subject}\n{message.text}",
            "id": message.key,
            "url": console_url(),
            **message.details,
        }
    ).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "sync-alerts", "X-Sync-Id": message.key}
    if conf.ALERT_WEBHOOK_SECRET:
        timestamp = str(int(time.time()))
        headers |= {"X-Sync-Timestamp": timestamp, "X-Sync-Signature": f"sha256={signature(timestamp, body)}"}
    request = urllib.request.Request(conf.ALERT_WEBHOOK, body, headers, method="POST")  # noqa: S310 (see _opener)
    _opener().open(request, timeout=TIMEOUT).close()


def signature(timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 with the secret over the timestamp, a dot and the body, in hex."""
    signed = f"{timestamp}.".encode() + body
    return hmac.new(conf.ALERT_WEBHOOK_SECRET.encode(), signed, hashlib.sha256).hexdigest()


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https alone. It follows no redirect: that is an error of the receiver."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPErrorProcessor, urllib.request.HTTPDefaultErrorHandler, urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener
