"""Users: one user model with a role, and the request for another one."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.fields import LowerCaseEmailField
from accounts.managers import UserManager


class Role(models.TextChoices):
    CUSTOMER = "customer", _("Customer")
    TECHNICAL_WORKER = "technical_worker", _("Technical worker")
    SENIOR_MANAGEMENT = "senior_management", _("Senior management")


class NumberFormat(models.TextChoices):
    """How pages write one thousand two hundred and a half. CSV and JSON never change."""

    LANGUAGE = "", _("As usual in your language")
    COMMA = "comma", "1,200.50"
    POINT = "point", "1.200,50"
    SPACE = "space", "1\N{NARROW NO-BREAK SPACE}200,50"


def languages() -> list[tuple[str, Any]]:
    return [("", _("The language of your browser")), *settings.LANGUAGES]


# The roles that can be requested at registration; staff decide.
REQUESTABLE_ROLES = [Role.TECHNICAL_WORKER, Role.SENIOR_MANAGEMENT]


class Decision(models.TextChoices):
    APPROVED = "approved", _("Approved")
    DECLINED = "declined", _("Declined")


# Of users whose role request is undecided.
PENDING = ~Q(requested_role="") & Q(request_decision="")


class User(AbstractUser):
    """A user who can log in. settings.ROLE_PERMISSIONS defines what a role may do."""

    email = LowerCaseEmailField(_("email address"), unique=True)
    role = models.CharField(_("role"), max_length=20, choices=Role.choices, blank=True)
    requested_role = models.CharField(
        _("requested role"), max_length=20, choices=[(role.value, role.label) for role in REQUESTABLE_ROLES], blank=True
    )
    request_decision = models.CharField(_("decision"), max_length=10, choices=Decision.choices, blank=True)
    request_decided_at = models.DateTimeField(_("decided on"), null=True, blank=True, editable=False)
    address = models.TextField(_("address"), max_length=500, blank=True)
    picture = models.FileField(_("picture"), upload_to="pictures", blank=True)
    language = models.CharField(_("language"), max_length=10, choices=languages, blank=True)
    time_zone = models.CharField(
        _("time zone"), max_length=64, blank=True, help_text=_("Pages show times in this zone. Empty means UTC.")
    )
    number_format = models.CharField(_("numbers"), max_length=10, choices=NumberFormat.choices, blank=True)
    is_demo = models.BooleanField(
        _("demo"), default=False, editable=False, help_text=_("Has a publicly known password.")
    )
    deletion_requested_at = models.DateTimeField(_("deletion requested"), null=True, editable=False)

    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta(AbstractUser.Meta):
        permissions = [("decide_requests", "Can approve and decline requests for a role")]
        # For the admin's search, besides username and email, which are unique.
        indexes = [
            models.Index(fields=["first_name"], name="accounts_user_first_name"),
            models.Index(fields=["last_name"], name="accounts_user_last_name"),
            models.Index(fields=["date_joined"], name="accounts_user_date_joined"),  # the order of those who wait
        ]
        constraints = [
            models.CheckConstraint(condition=Q(role__in=["", *Role.values]), name="user_role_is_known"),
            models.CheckConstraint(
                condition=Q(requested_role__in=["", *REQUESTABLE_ROLES]), name="user_requested_role_is_known"
            ),
            models.CheckConstraint(
                condition=Q(request_decision="") | (Q(request_decision__in=Decision.values) & ~Q(requested_role="")),
                name="user_decision_is_of_a_request",
            ),
        ]

    @classmethod
    def pending_requests(cls) -> models.QuerySet[User]:
        """Users whose role request is undecided, in the order of their requests."""
        return cls.objects.filter(PENDING).order_by("date_joined", "pk")

    def get_full_name(self) -> str:
        return super().get_full_name() or self.username

    @property
    def initials(self) -> str:
        """One or two letters, shown in place of a missing picture."""
        names = [self.first_name, self.last_name] if self.first_name or self.last_name else [self.username]
        return "".join(name[:1] for name in names).upper()

    @property
    def has_pending_request(self) -> bool:
        return bool(self.requested_role) and not self.request_decision

    @property
    def may_log_in(self) -> bool:
        """False for inactive users, and outside DEBUG for demo users, whose password is public."""
        return self.is_active and (settings.DEBUG or not self.is_demo)


class PictureLease(models.Model):
    """Until when, at the latest, a worker is reading an uploaded picture of a user."""

    person = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="+")
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.person_id}: {self.until}"


class AddedAddress(models.Model):
    """When a user added an address to their account, other than that of the registration."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    email = LowerCaseEmailField()
    added_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "email"], name="added_address_once")]

    def __str__(self) -> str:
        return self.email


class Session(AbstractBaseSession):
    """A session of a browser, and its user. accounts.sessions writes and lists them.

    No constraint names the user: a save must not fail because the user was deleted a moment ago.
    """

    user = models.ForeignKey(User, models.CASCADE, null=True, db_constraint=False, related_name="+")

    def __str__(self) -> str:
        return f"{self.expire_date:%Y-%m-%d %H:%M}"  # never the key, which is the secret

    @classmethod
    def get_session_store_class(cls) -> Any:
        from accounts.sessions import SessionStore  # which needs this model

        return SessionStore


def display_name(user: User) -> str:
    """The user's name on allauth's pages and in its emails."""
    return user.get_full_name()
