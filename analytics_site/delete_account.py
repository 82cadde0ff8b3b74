"""The page to delete one's own account. Whether staff decide depends on accounts and finance, which it joins."""

from __future__ import annotations

from allauth.core.internal import ratelimit
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts import deletion
from accounts.models import User
from analytics_site.my_data import is_confirmed
from finance.models import customer_of


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete_account(request: HttpRequest) -> HttpResponse:
    """Asks, and deletes the account or asks staff to do so. Withdraws such a request."""
    is_post = request.method == "POST"
    if is_post and not ratelimit.consume(request, app="allauth.account", action="delete_account"):
        return ratelimit.respond_429(request)
    with transaction.atomic():
        people = User.objects.select_for_update() if is_post else User.objects.all()
        user = get_object_or_404(people, username=request.user.get_username())
        needs_staff = user.is_staff or user.is_superuser or customer_of(user) is not None
        is_last = deletion.is_last_superuser(user)
        if not is_post:
            context = {"confirmed": is_confirmed(request), "needs_staff": needs_staff, "is_last": is_last}
            return render(request, "accounts/delete_account.html", context | {"person": user})
        if "withdraw" in request.POST:
            deletion.withdraw(request, user)
            messages.success(request, _("Your request was withdrawn. Your account stays as it is."))
            return redirect("my_data")
        if is_last or not is_confirmed(request):
            return redirect("delete_account")
        if needs_staff:
            deletion.ask(request, user)
            messages.success(request, _("Your request was sent to our staff."))
            return redirect("delete_account")
        deletion.delete_now(request, user)
    messages.success(request, _("Your account was deleted."))
    return redirect("landing")
