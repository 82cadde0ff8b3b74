"""Staff have a second factor before they have anything else."""

from __future__ import annotations

from collections.abc import Callable

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

# What somebody needs in order to set the second factor up, or to leave.
OPEN_TO_ALL = {
    "account_confirm_email",
    "account_email",
    "account_email_verification_sent",
    "account_logout",
    "account_reauthenticate",
    "healthz",
    "mfa_activate_totp",
    "mfa_index",
    "readyz",
}


class StaffSecondFactorMiddleware:
    """Sends staff without an authenticator app to set one up (settings.REQUIRE_STAFF_MFA)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: object) -> HttpResponse | None:
        match = request.resolver_match
        if not settings.REQUIRE_STAFF_MFA or (match and match.view_name in OPEN_TO_ALL):
            return None
        user = request.user
        if not (user.is_authenticated and (user.is_staff or user.is_superuser)):
            return None
        if get_adapter().is_mfa_enabled(user, [Authenticator.Type.TOTP]):
            return None
        messages.info(request, _("Staff accounts need a second factor. Set it up to go on."))
        return redirect("mfa_activate_totp")
