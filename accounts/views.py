"""The landing page, the redirect to the user's dashboard, and the profile."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import addresses, pictures, sessions
from accounts.forms import ProfileForm, ResetPasswordForm
from accounts.models import Role, User

CONFLICT, GONE = 409, 410


def one_at_a_time(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Runs a user's requests to this view one after the other, in a transaction.

    So what a form has checked still holds when it saves. Without the lock on the user's row, the second of two clicks
    could violate a unique index, deadlock, or exceed a limit.
    """

    @wraps(view)
    def locked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST" or not request.user.is_authenticated:
            return view(request, *args, **kwargs)
        with transaction.atomic():
            User.objects.select_for_update().filter(pk=request.user.pk).first()
            return view(request, *args, **kwargs)

    return locked


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/landing.html")


@require_safe
@login_required
def dashboard(request: HttpRequest) -> HttpResponse:
    """Redirects each role to its dashboard; tells users without a role what to do."""
    user = cast(User, request.user)
    if user.role in settings.ROLE_DASHBOARDS:  # SQL may have written an unknown role
        return redirect(settings.ROLE_DASHBOARDS[user.role])
    dashboards = [
        (Role(role).label, reverse(url_name))
        for role, url_name in settings.ROLE_DASHBOARDS.items()
        if user.has_perms(settings.ROLE_PERMISSIONS[role])
    ]
    return render(request, "accounts/no_role.html", {"dashboards": dashboards})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def profile(request: HttpRequest) -> HttpResponse:
    files, problem = _read_picture(request)
    people = User.objects.select_for_update() if request.method == "POST" else User.objects.all()
    with pictures.transaction_with_files() as written:
        # The form writes to its instance even if it is invalid; the page around it shows the stored user.
        user = get_object_or_404(people, username=request.user.get_username())
        form = ProfileForm(request.POST or None, files, instance=user, picture_problem=problem)
        is_saved = request.method == "POST" and form.is_valid()
        if is_saved:
            form.save_with_files(written)
    if is_saved:
        changed = form.changed_data
        messages.success(request, _("Profile saved.") if changed else _("Nothing was changed."))
        return redirect("profile")
    return render(request, "accounts/profile.html", {"form": form}, status=CONFLICT if form.conflict else 200)


def _read_picture(request: HttpRequest) -> tuple[dict[str, pictures.Picture] | None, ValidationError | None]:
    """The form's files, or why there are none. It takes a while, so the row is not locked yet."""
    upload = request.FILES.get("picture")
    if upload is None:
        return None, None
    try:
        return {"picture": pictures.read(upload, cast(User, request.user))}, None
    except ValidationError as problem:
        return {}, problem


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def list_sessions(request: HttpRequest) -> HttpResponse:
    """Where the user is signed in. A POST signs out one of the other sessions."""
    user, current = cast(User, request.user), request.session.session_key
    if request.method == "POST":
        if sessions.end(user, request.POST.get("session", ""), current):
            messages.success(request, _("That session was signed out."))
        else:
            messages.info(request, _("That session has already ended."))
        return redirect("sessions")
    return render(request, "accounts/sessions.html", {"sessions": sessions.open_sessions(user, current)})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    """Asks, and then signs out all other sessions."""
    if request.method != "POST":
        return render(request, "accounts/sessions_end_others.html")
    sessions.end_others(cast(User, request.user), request.session.session_key)
    messages.success(request, _("All other sessions were signed out."))
    return redirect("sessions")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def undo_address(request: HttpRequest, token: str) -> HttpResponse:
    """The target of the link in the email about an added address: the owner recovers the account."""
    what = addresses.undo(token) if request.method == "POST" else addresses.read_undo(token)
    if what is None:
        return render(request, "accounts/undo_address.html", {"what": None}, status=GONE)
    if request.method != "POST":
        return render(request, "accounts/undo_address.html", {"what": what})
    logout(request)
    if User.objects.filter(pk=what.user.pk, email=what.told).exists():
        addresses.forget_mails_to(request, what.told)
        form = ResetPasswordForm({"email": what.told})
        if form.is_valid():
            form.save(request)
        messages.success(
            request,
            _("The address was removed and every session signed out. We emailed you a link to choose a password."),
        )
        return redirect("account_reset_password_done")
    messages.warning(
        request,
        _(
            "The address was removed and every session signed out. Your old address belongs to another account now. "
            "Reset the password with another address of yours, or ask staff."
        ),
    )
    return redirect("account_reset_password")


@require_safe
@login_required
def picture(request: HttpRequest) -> FileResponse:
    """The user's own picture, always as pictures.read() made it."""
    user = cast(User, request.user)
    try:
        content = user.picture.open()
    except (ValueError, FileNotFoundError) as error:
        raise Http404 from error
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=86400"}
    return FileResponse(content, content_type=pictures.CONTENT_TYPE, headers=headers)
