"""Renders a signed-in user's pages in the language, time zone and number format that they chose."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation

from accounts.models import NumberFormat, User
from sync.core.humanize import SEPARATORS

SEPARATORS_OF: dict[str, tuple[str, str]] = {
    NumberFormat.COMMA: (",", "."),
    NumberFormat.POINT: (".", ","),
    NumberFormat.SPACE: ("\N{NARROW NO-BREAK SPACE}", ","),
}


class PreferencesMiddleware:
    """Applies a user's preferences. LocaleMiddleware gives visitors the language of the menu or of their browser."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.user.is_authenticated:
            return self.get_response(request)
        user = cast(User, request.user)
        if user.language in dict(settings.LANGUAGES):
            translation.activate(user.language)
        token = SEPARATORS.set(SEPARATORS_OF.get(user.number_format))
        try:
            with timezone.override(zone_of(user)):
                return self.get_response(request)
        finally:
            SEPARATORS.reset(token)


def zone_of(user: User) -> zoneinfo.ZoneInfo | None:
    """The user's time zone; None, for the portal's own, if they chose none or one that this machine does not know."""
    try:
        return zoneinfo.ZoneInfo(user.time_zone) if user.time_zone else None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
