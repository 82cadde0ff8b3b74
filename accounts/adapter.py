"""The project's decisions for allauth: the role of a new user, who may log in, and how emails are sent."""

from __future__ import annotations

import base64
import logging
import secrets
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.stagekit import clear_login
from allauth.account.internal.userkit import filter_users_by_email, get_user_by_username
from allauth.account.models import EmailAddress
from allauth.core import context as app_context
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.translation import gettext as _

from accounts import encryption, mails
from accounts.models import Role, User

logger = logging.getLogger(__name__)

# Templates of emails to addresses that any visitor can enter.
CAUSED_BY_STRANGERS = {
    f"account/email/{name}"
    for name in (
        "account_already_exists", "email_confirmation", "email_confirmation_signup", "password_reset_key",
        "reset_too_early", "unknown_account",
    )
}  # fmt: skip


class AccountAdapter(DefaultAccountAdapter):
    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """allauth's, with the portal's word for a passkey."""
        methods = super().get_reauthentication_methods(user)
        words = {"mfa_reauthenticate:webauthn": _("Use a passkey")}
        return [method | {"description": words.get(method["id"], method["description"])} for method in methods]

    def save_user(self, request: HttpRequest, user: Any, form: Any, commit: bool = True) -> Any:
        """Every user starts as a customer; a requested role is a request that staff decide."""
        user.role = Role.CUSTOMER
        user.requested_role = form.cleaned_data["requested_role"]
        return super().save_user(request, user, form, commit)

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        # allauth passes on users whom the backend refused, and checks only is_active itself.
        if not user.may_log_in:
            clear_login(request)
            return self.respond_user_inactive(request, user)
        return super().pre_login(request, user, **kwargs)

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        """The message about the login is in the user's language. The pages after it are, too."""
        if user.language in dict(settings.LANGUAGES):
            translation.activate(user.language)
        return super().post_login(request, user, **kwargs)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Counts the attempt for each user whose password is about to be compared, before it is compared."""
        used = []
        for key in self._counted(credentials):
            usage = ratelimit.consume(request, app="allauth.account", action="login_failed", key=key)
            if usage is None:
                raise self.validation_error("too_many_login_attempts")
            used += usage.usage
        self._login_failed_rl_usage = ratelimit.RateLimitUsage(used)  # removed again after a successful login

    def _delete_login_attempts_cached_email(self, request: HttpRequest, **credentials: Any) -> None:
        """After a password reset: resets the failed logins, unless the address may also mean another user."""
        keys = self._counted(credentials)
        if len(keys) == 1:
            ratelimit.clear(request, app="allauth.account", action="login_failed", key=keys[0])

    @staticmethod
    def _counted(credentials: dict[str, Any]) -> list[str]:
        """The counters of a login: one for each user whom the backend finds by the typed name.

        That is one user, unless one's username is another's address.
        """
        typed = {credentials[name].strip() for name in ("username", "email") if credentials.get(name)}
        people: set[int] = set()
        for text in typed:
            people |= {user.pk for user in filter_users_by_email(text, prefer_verified=True, for_login=True)}
            if user := get_user_by_username(text):
                people.add(user.pk)
        return [f"person:{pk}" for pk in sorted(people)] or [f"name:{text}" for text in {t.casefold() for t in typed}]

    def can_delete_email(self, email_address: EmailAddress) -> bool:
        """The last address stays: without one the password cannot be reset."""
        others = EmailAddress.objects.filter(user_id=email_address.user_id).exclude(pk=email_address.pk)
        return others.exists() and super().can_delete_email(email_address)

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """An address belongs to one user, even if its first owner has not confirmed it yet."""
        if User.objects.filter(email=email_address.email).exclude(pk=email_address.user_id).exists():
            messages.error(request, _("This address belongs to another account. Reset that account's password."))
            return False
        try:
            with transaction.atomic():
                return super().confirm_email(request, email_address)
        except IntegrityError:  # the other user has confirmed it at the same moment
            messages.error(request, _("This address belongs to another account. Reset that account's password."))
            return False

    def send_notification_mail(
        self, template_prefix: str, user: Any, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        """Notifies all addresses that the owner has verified, and the one that was removed or is no longer primary.

        One of them may be an intruder's, and the email to it may reach no one else.
        """
        from accounts.addresses import verified  # which needs the adapter

        former = (context or {}).get("deleted_email")
        for to in dict.fromkeys([*verified(user), *filter(None, [email, former])]):
            self.notify(to, template_prefix, context or {})

    def notify(self, email: str, template_prefix: str, context: dict[str, Any]) -> None:
        """Sends one notice with the time and network address of the change."""
        super().send_notification_mail(template_prefix, None, context, email)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Emails that a stranger can cause are limited for each address."""
        if template_prefix in CAUSED_BY_STRANGERS and not self._may_have_another(email):
            logger.warning("The email %s was not sent: its address has reached the limit", template_prefix)
            return
        mails.send(template_prefix, email, {"email": email, **context}, app_context.request)

    def _may_have_another(self, email: str) -> bool:
        request = app_context.request
        if request is None:  # a command, which no stranger starts
            return True
        used = ratelimit.consume(request, app="allauth.account", action="mail_to", key=email.lower(), limit_get=True)
        return used is not None


class SecondFactorAdapter(DefaultMFAAdapter):
    """Encrypts secrets of second factors at rest, and names passkeys."""

    def generate_authenticator_name(self, user: Any, type: Authenticator.Type) -> str:
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return _("Passkey {number}").format(number=count + 1)

    def _get_site_name(self) -> str:
        return settings.MFA_TOTP_ISSUER

    def encrypt(self, text: str) -> str:
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return encryption.decrypt(encrypted_text)
        except encryption.InvalidToken:
            # No code may match, so a random secret, not an empty one.
            logger.exception("No key decrypts the secret of a second factor. See manage.py rotate_secrets --help")
            return base64.b32encode(secrets.token_bytes(20)).decode()
