"""Every email to a user: the portal's name in the subject, and one text from which both parts are made."""

from __future__ import annotations

import logging
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import translation

from accounts.models import User

logger = logging.getLogger(__name__)


def send(template: str, to: str, context: dict[str, Any], request: HttpRequest | None = None) -> None:
    """Sends one email. A mail server that is down must not fail what the email is about."""
    try:
        compose(template, to, context, request).send()
    except (OSError, SMTPException):
        logger.exception("The email %s could not be sent", template)


def send_all(letters: list[EmailMultiAlternatives]) -> None:
    """Sends them over one connection, so that a server that does not respond is tried once. Raises what it raises."""
    if letters:
        get_connection().send_messages(letters)


def compose(
    template: str, to: str, context: dict[str, Any], request: HttpRequest | None = None
) -> EmailMultiAlternatives:
    """The email of `<template>_subject.txt` and `<template>_message.txt`, in the language that its reader chose.

    The HTML part is the escaped text. Only a line that is one of the context's `..._url` becomes a link, so text that
    a user typed cannot become one.
    """
    with translation.override(_language_of(to, request)):
        subject = _one_line(render_to_string(f"{template}_subject.txt", context))
        message = render_to_string(f"{template}_message.txt", context).strip()
        links = {value for name, value in context.items() if name.endswith("_url")}
        footer = [settings.PORTAL_NAME]
        if origin := _origin(request):
            footer.append(origin)
            links.add(origin)
        html = render_to_string(
            "email/base.html",
            {
                "subject": subject,
                "paragraphs": [paragraph.splitlines() for paragraph in message.split("\n\n")],
                "links": links,
                "footer": footer,
            },
        )
    return EmailMultiAlternatives(
        subject=f"[{settings.PORTAL_NAME}] {subject}",
        body="\n".join([message, "", "-- ", *footer, ""]),  # mail programs recognize "-- " before a footer
        to=[to],
        alternatives=[(html, "text/html")],
        headers={"Auto-Submitted": "auto-generated"},
    )


def _one_line(text: str) -> str:
    """A line break would begin another header."""
    return " ".join(text.split())


def _language_of(email: str, request: HttpRequest | None) -> str:
    """The language that the owner of this address chose. If they chose none, that of the page if it is theirs, or else
    the portal's.
    """
    owner = User.objects.filter(emailaddress__email__iexact=email).order_by("-language").first()
    if owner and owner.language:
        return owner.language
    is_others = request is not None and request.user.is_authenticated and request.user != owner
    return settings.LANGUAGE_CODE if is_others else translation.get_language() or settings.LANGUAGE_CODE


def _origin(request: HttpRequest | None) -> str:
    """Where the portal is. A command has no request, and then only the setting says it."""
    return settings.PORTAL_ORIGIN or (f"{request.scheme}://{request.get_host()}" if request else "")
