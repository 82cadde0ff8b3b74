"""Users in the admin: staff decide requests and correct names; only superusers change what gives power."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.admin import EmailAddressAdmin
from allauth.account.internal.flows import reauthentication
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ReauthenticationRequired
from allauth.core.internal.httpkit import add_query_params
from allauth.mfa.admin import AuthenticatorAdmin
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import ReadOnlyPasswordHashField, ReadOnlyPasswordHashWidget, UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.deletion import is_last_superuser
from accounts.models import PENDING, Decision, User
from accounts.role_requests import decide
from audit.admin import Audited

# What staff who are not superusers may change of other users: nothing that gives power or takes over a login.
HARMLESS_FIELDS = {"first_name", "last_name", "address"}


def _must_say_who_they_are(request: HttpRequest) -> bool:
    """Whether a superuser has not confirmed the password (or second factor) recently: the session may be stolen."""
    return request.user.is_superuser and reauthentication.is_reauthentication_required(request, app="allauth.account")


def after_the_password(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """For admin views that give power: superusers may post there only after they confirmed the password again.

    Data posted before is dropped. allauth would keep it in the session, and a new password with it.
    """

    @wraps(view)
    def asked(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST" or not _must_say_who_they_are(request):
            return view(self, request, *args, **kwargs)
        messages.warning(request, _("Nothing was saved yet. Confirm your identity, then fill in the form again."))
        ways = get_adapter().get_reauthentication_methods(request.user)
        return redirect(add_query_params(ways[0]["url"], {"next": request.get_full_path()}))

    return asked


class RequestFilter(admin.SimpleListFilter):
    """By the state of the role request; shows how many are pending."""

    title = _("request")
    parameter_name = "request"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        pending = _("Pending (%d)") % User.pending_requests().count()
        return [("pending", pending), *Decision.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        if self.value() == "pending":
            return queryset.filter(PENDING)
        return queryset.filter(request_decision=self.value()) if self.value() else queryset


class PasswordState(ReadOnlyPasswordHashWidget):
    """Whether a user has a password. Django's own also shows the start of the salt and of the hash."""

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        is_set = any("value" in line for line in context["summary"])
        return context | {"summary": [{"label": _("Set.")}] if is_set else context["summary"]}


class UserForm(UserChangeForm):
    password = ReadOnlyPasswordHashField(
        label=_("Password"), widget=PasswordState, help_text=_("Passwords are stored as hashes. Nobody can read them.")
    )

    class Meta(UserChangeForm.Meta):
        model = User


@admin.register(User)
class UserAdmin(Audited, DjangoUserAdmin):
    form = UserForm
    list_display = ["username", "request_state", "full_name", "email", "role", "staff", "active"]
    list_filter = [
        "role", RequestFilter, ("deletion_requested_at", admin.EmptyFieldListFilter), "is_staff", "is_superuser",
        "is_active", "groups",
    ]  # fmt: skip
    search_fields = ["^username", "^first_name", "^last_name", "^email"]
    search_help_text = _("Search by the start of a username, name or email address.")
    show_full_result_count = False
    actions = ["approve_requests", "decline_requests"]
    readonly_fields = [
        "last_login", "date_joined", "deletion_requested_at", "requested_role", "request_decision",
        "request_decided_at",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        (_("Person"), {"fields": ["first_name", "last_name", "email", "address"]}),
        (_("Role"), {"fields": ["role", "requested_role", "request_decision", "request_decided_at"]}),
        (_("Rights"), {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        (_("Dates"), {"fields": ["last_login", "date_joined", "deletion_requested_at"]}),
    ]
    add_fieldsets = [(None, {"classes": ["wide"], "fields": ["username", "email", "role", "password1", "password2"]})]

    @admin.display(description=_("name"), ordering="first_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description=_("request"), ordering="requested_role")
    def request_state(self, user: User) -> str:
        if not user.requested_role:
            return ""
        role = user.get_requested_role_display()
        if user.has_pending_request:
            return format_html('<strong class="request-pending">{}: {}</strong>', role, _("Pending"))
        return f"{role}: {user.get_request_decision_display()}"

    # As Django reads them at login: a TINYINT may hold a 2, which has no icon.
    @admin.display(description=_("staff status"), ordering="is_staff", boolean=True)
    def staff(self, user: User) -> bool:
        return bool(user.is_staff)

    @admin.display(description=_("active"), ordering="is_active", boolean=True)
    def active(self, user: User) -> bool:
        return bool(user.is_active)

    # --- what only a superuser may do ---------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        is_last = obj is not None and is_last_superuser(obj)
        return super().has_delete_permission(request, obj) and _may_touch(request, obj) and not is_last

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        if request.user.is_superuser:
            return self.readonly_fields
        return [name for name in self._all_fields() if name not in HARMLESS_FIELDS]

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None or request.user.is_superuser:
            return super().get_fieldsets(request, obj)
        return [(None, {"fields": [name for name in self._all_fields() if name != "password"]})]

    @after_the_password
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().add_view(request, *args, **kwargs)

    @after_the_password
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        if not request.user.is_superuser:
            raise PermissionDenied
        return super().user_change_password(request, id, form_url)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Assigning the requested role approves the request."""
        if set(form.changed_data) - HARMLESS_FIELDS and _must_say_who_they_are(request):
            raise ReauthenticationRequired
        if "role" in form.changed_data and obj.has_pending_request and obj.role == obj.requested_role:
            obj.request_decision, obj.request_decided_at = Decision.APPROVED, timezone.now()
        super().save_model(request, obj, form, change)

    def _all_fields(self) -> list[str]:
        return flatten_fieldsets(self.fieldsets)

    # --- requests -----------------------------------------------------------------------------------------------

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.decide_requests")

    @admin.action(description=_("Approve the requests of the selected users"), permissions=["decide"])
    def approve_requests(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._decide(request, queryset, Decision.APPROVED)

    @admin.action(description=_("Decline the requests of the selected users"), permissions=["decide"])
    def decline_requests(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._decide(request, queryset, Decision.DECLINED)

    def _decide(self, request: HttpRequest, queryset: QuerySet[User], decision: Decision) -> None:
        """No user decides their own request."""
        others = queryset.exclude(username=request.user.get_username())
        decided = [user for user in others if decide(user, decision, request)]
        for user in decided:
            self.log_change(request, user, f"{user.get_requested_role_display()}: {decision.label}")
        left = queryset.count() - len(decided)
        if decided:
            text = ngettext("%d request was decided.", "%d requests were decided.", len(decided)) % len(decided)
            self.message_user(request, text, messages.SUCCESS)
        if left:
            text = ngettext(
                "%d user was skipped: no pending request, or your own.",
                "%d users were skipped: no pending request, or your own.",
                left,
            )
            self.message_user(request, text % left, messages.WARNING)


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    """Staff cannot change each other or superusers; superusers can change every user."""
    return user is None or request.user.is_superuser or not (user.is_staff or user.is_superuser)


class SuperusersOnly:
    """For models through which users could give themselves rights or take over a login."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def _is_superuser(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    has_view_permission = has_add_permission = has_change_permission = has_delete_permission = _is_superuser

    @after_the_password
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)  # type: ignore[misc]

    @after_the_password
    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().delete_view(request, *args, **kwargs)  # type: ignore[misc]

    @after_the_password
    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changelist_view(request, *args, **kwargs)  # type: ignore[misc]


class WithoutSecrets:
    """A second factor can be viewed and removed, never entered: its secret belongs to its owner alone."""

    fields = readonly_fields = ("user", "type", "created_at", "last_used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


for model, model_admin in [(Group, GroupAdmin), (EmailAddress, EmailAddressAdmin), (Authenticator, AuthenticatorAdmin)]:
    admin.site.unregister(model)
    closed = [WithoutSecrets] if model is Authenticator else []
    own = {"secret_fields": {"data"} if closed else ()}
    admin.site.register(model, type(f"{model.__name__}Admin", (*closed, SuperusersOnly, Audited, model_admin), own))
