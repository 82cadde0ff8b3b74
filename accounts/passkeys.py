"""Passkeys: allauth's views and forms, with this portal's rules and words.

Every passkey is one that signs its owner in by itself: the device stores it, and asks for a PIN, a finger or a face.
Its public key is in the database. It is no secret: it can check a signature, and make none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_removed
from allauth.mfa.webauthn import forms as allauth
from allauth.mfa.webauthn import views
from allauth.mfa.webauthn.internal import auth
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic.edit import FormView

from audit.log import Object, record
from audit.models import Act

LONGEST_NAME = 100  # characters
# What reading a credential may raise, which is JSON, base64 and CBOR of any shape.
UNREADABLE = (
    ArithmeticError, AttributeError, InvalidSignature, LookupError, RecursionError, TypeError, UnsupportedAlgorithm,
    ValueError, struct.error,
)  # fmt: skip


@contextmanager
def _refusing() -> Iterator[None]:
    """One error of the form, whatever is wrong with the credential."""
    try:
        yield
    except ValidationError as error:
        if error.code != "incorrect_code":
            raise
        raise _refusal() from error
    except UNREADABLE as error:
        raise _refusal() from error


def _refusal() -> ValidationError:
    return ValidationError(_("The portal could not verify this passkey. Try again."), code="incorrect_passkey")


class CredentialField(forms.JSONField):
    """What the browser answers. The script of the page fills it in."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        with _refusing():
            return super().to_python(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """An answer works once, so a form with errors does not repeat it."""
        return initial


class AddPasskeyForm(allauth.AddWebAuthnForm):
    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=LONGEST_NAME, required=False,
        help_text=gettext_lazy("Such as the device that stores it. You can change the name later."),
    )  # fmt: skip
    credential = CredentialField()
    passwordless = None  # every passkey is: MFA_WEBAUTHN_USER_VERIFICATION

    def clean(self) -> dict[str, Any]:
        with _refusing():
            return super().clean()


class RenamePasskeyForm(allauth.EditWebAuthnForm):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=LONGEST_NAME)


class _Checked:
    """The form of a passkey that is used."""

    def clean_credential(self) -> Authenticator:
        with _refusing():
            return super().clean_credential()  # type: ignore[misc]


class AuthenticatePasskeyForm(_Checked, allauth.AuthenticateWebAuthnForm):
    credential = CredentialField()


class LoginPasskeyForm(_Checked, allauth.LoginWebAuthnForm):
    credential = CredentialField()


class ReauthenticatePasskeyForm(_Checked, allauth.ReauthenticateWebAuthnForm):
    credential = CredentialField()


class AddPasskeyView(views.AddWebAuthnView):
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        options = auth.begin_registration(self.request.user, passwordless=True)
        return FormView.get_context_data(self, **kwargs, js_data={"creation_options": options})


class ReauthenticatePasskeyView(views.ReauthenticateWebAuthnView):
    def form_invalid(self, form: forms.Form) -> HttpResponse:
        """allauth's goes to the login, which a signed-in user does not see."""
        for message in form.errors["credential"]:
            messages.error(self.request, str(message))
        return redirect(self.passthrough_next_url(self.request.path))


def _record(act: Act, request: HttpRequest, authenticator: Authenticator) -> None:
    """Recovery codes come and go with the others and are not recorded."""
    if authenticator.type != Authenticator.Type.RECOVERY_CODES:
        record(request, act, Object("mfa.authenticator", str(authenticator.pk or ""), str(authenticator)))


@receiver(authenticator_added)
def _record_addition(request: HttpRequest, authenticator: Authenticator, **kwargs: Any) -> None:
    _record(Act.CREATE, request, authenticator)


@receiver(authenticator_removed)
def _record_removal(request: HttpRequest, authenticator: Authenticator, **kwargs: Any) -> None:
    _record(Act.DELETE, request, authenticator)
