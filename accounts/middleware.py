"""Session lifetimes, the required second factor, and the rate limit of exports."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from allauth.core.internal import ratelimit
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from accounts.sessions import ADDRESS, AGENT, BEGAN, LONGEST_AGENT, SEEN, is_over
from audit.log import address_of

PRECISION = 60  # seconds between two updates of a session, each of which writes it


@receiver(user_logged_in)
def _begin(request: HttpRequest, **kwargs: Any) -> None:
    request.session[BEGAN] = time.time()
    _see(request)


def _see(request: HttpRequest) -> None:
    """Notes when, from where and with what the user's last request came, for the page of their sessions."""
    request.session[SEEN] = time.time()
    request.session[ADDRESS] = address_of(request)
    request.session[AGENT] = request.headers.get("User-Agent", "")[:LONGEST_AGENT]


class SessionLimitsMiddleware:
    """Ends sessions: SESSION_IDLE seconds after the last request, SESSION_LONGEST seconds after the login.

    Requests by htmx for pages that refresh on their own (settings.UNATTENDED_VIEWS) do not count.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated and is_over(request.session):
            logout(request)
            messages.info(request, _("You were signed out because your session reached its longest duration."))
        response = self.get_response(request)
        if request.user.is_authenticated and "Cache-Control" not in response:
            add_never_cache_headers(response)  # after a logout, "back" must not show a page to the next person
        return response

    def process_view(self, request: HttpRequest, *view: object) -> None:
        match = request.resolver_match
        by_itself = "HX-Request" in request.headers and match and match.view_name in settings.UNATTENDED_VIEWS
        if not request.user.is_authenticated or by_itself:
            return
        if time.time() - request.session.get(SEEN, 0) > min(PRECISION, settings.SESSION_IDLE / 10):
            _see(request)


# What a user needs to set up the second factor, or to leave.
OPEN_TO_ALL = {
    "account_confirm_email",
    "account_email",
    "account_email_verification_sent",
    "account_logout",
    "account_reauthenticate",
    "healthz",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_index",
    "readyz",
}


class SecondFactorMiddleware:
    """Sends users without a second factor to the page that sets one up, if they need one (settings.REQUIRE_MFA)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: object) -> HttpResponse | None:
        match = request.resolver_match
        user = request.user
        if not user.is_authenticated or (match and match.view_name in OPEN_TO_ALL):
            return None
        is_staff = user.is_staff or user.is_superuser
        if user.role not in settings.REQUIRE_MFA and not (is_staff and "staff" in settings.REQUIRE_MFA):
            return None
        if get_adapter().is_mfa_enabled(user, [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]):
            return None
        messages.info(request, _("Your account requires a second factor. Set it up to continue."))
        return redirect("mfa_index")


class ExportLimitMiddleware:
    """Limits the exports of a user: URLs that end with .csv."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: object) -> HttpResponse | None:
        match = request.resolver_match
        if not (match and match.route.endswith(".csv") and request.user.is_authenticated):
            return None
        is_allowed = ratelimit.consume(request, app="allauth.account", action="export", limit_get=True)
        return None if is_allowed else ratelimit.respond_429(request)
