"""The forms that users fill in about themselves. A form accepts nothing but its fields."""

from __future__ import annotations

from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.forms import AddEmailForm as AllauthAddEmailForm
from allauth.account.forms import LoginForm as AllauthLoginForm
from allauth.account.forms import ResetPasswordForm as AllauthResetPasswordForm
from allauth.account.forms import SignupForm
from django import forms
from django.contrib import messages
from django.contrib.auth.hashers import make_password
from django.core.files import File
from django.db import IntegrityError, transaction
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from accounts.addresses import resets_from
from accounts.models import REQUESTABLE_ROLES, User
from accounts.picture_decoder import FORMATS
from accounts.pictures import FOLDER, Picture, remove_after_commit
from audit.editing import EditForm


class LoginForm(AllauthLoginForm):
    """allauth's form with a label that says what to type."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("Username or email")
        self.fields["login"].widget.attrs |= {"autocomplete": "username", "autofocus": True}


class RegistrationForm(SignupForm):
    """allauth's form with names and the requested role."""

    first_name = forms.CharField(label=_("First name"), max_length=150)
    last_name = forms.CharField(label=_("Last name"), max_length=150)
    requested_role = forms.ChoiceField(
        label=_("Role"),
        choices=[
            ("", _("Customer")),
            *((role.value, format_lazy(_("{role} (after approval)"), role=role.label)) for role in REQUESTABLE_ROLES),
        ],
        required=False,
        help_text=_("You start as a customer. If you request another role, staff will email you their decision."),
    )
    field_order = ["first_name", "last_name", "username", "email", "requested_role", "password1", "password2"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["first_name"].widget.attrs["autocomplete"] = "given-name"
        self.fields["last_name"].widget.attrs["autocomplete"] = "family-name"

    def try_save(self, request: HttpRequest) -> Any:
        """Saves the whole user or nothing, even if the name is taken between the check and the save."""
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])  # the same work as for an unknown address
        try:
            with transaction.atomic():
                return super().try_save(request)
        except IntegrityError:
            messages.error(request, _("Another user has just taken one of these values. Try again."))
            return None, redirect("account_signup")


class ResetPasswordForm(AllauthResetPasswordForm):
    """allauth's form; an address that was added recently cannot reset the password, and gets an email that says so."""

    users: list[Any]

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        email = self.cleaned_data["email"]
        waits = {user.pk: resets_from(user, email) for user in self.users}
        if until := max(filter(None, waits.values()), default=None):
            get_adapter().send_mail("account/email/reset_too_early", email, {"until": until})
            self.users = [user for user in self.users if waits[user.pk] is None]
            if not self.users:
                return str(email)
        return str(super().save(request, **kwargs))


class AddEmailForm(AllauthAddEmailForm):
    """Adds an address to the signed-in user."""

    def clean_email(self) -> str:
        email = super().clean_email()
        # If addresses must be verified, only the owner of the mailbox learns that this one is taken.
        optional = app_settings.EMAIL_VERIFICATION != app_settings.EmailVerificationMethod.MANDATORY
        if optional and User.objects.filter(email=email).exclude(pk=self.user.pk).exists():
            raise get_adapter().validation_error("email_taken")
        return email


class ProfileForm(EditForm):
    """What users can change about themselves."""

    class Meta:
        model = User
        fields = ["first_name", "last_name", "address", "picture"]
        widgets = {
            "first_name": forms.TextInput(attrs={"autocomplete": "given-name"}),
            "last_name": forms.TextInput(attrs={"autocomplete": "family-name"}),
            "address": forms.Textarea(attrs={"rows": 3, "autocomplete": "street-address"}),
            "picture": forms.ClearableFileInput(
                attrs={"accept": ",".join(f"image/{name.lower()}" for name in FORMATS)}
            ),
        }
        help_texts = {
            "picture": _("JPEG, PNG or WebP up to 5 MB and 25 megapixels (WebP: 8). It is cropped to a small square.")
        }

    def __init__(self, *args: Any, picture_problem: forms.ValidationError | None = None, **kwargs: Any) -> None:
        """picture_problem: why the uploaded picture could not be read."""
        super().__init__(*args, **kwargs)
        self.picture_problem = picture_problem
        self.former_picture = self.instance.picture.name

    def clean_picture(self) -> Any:
        picture = self.cleaned_data["picture"]
        if isinstance(picture, File) and not isinstance(picture, Picture | FieldFile):
            raise TypeError("A file that accounts.pictures has not read.")
        return picture

    def clean(self) -> dict[str, Any]:
        if self.picture_problem:
            self.add_error("picture", self.picture_problem)
        return super().clean()

    def save_with_files(self, written: list[tuple[Any, str]]) -> None:
        """In a transaction_with_files(), whose list this extends."""
        picture = self.cleaned_data.get("picture")
        if isinstance(picture, Picture):
            written.append((self.instance.pk, f"{FOLDER}/{picture.name}"))
        user = self.save()
        if user.picture.name != self.former_picture:
            remove_after_commit(user.pk, self.former_picture)
