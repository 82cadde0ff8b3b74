"""The user's own data: one file with all of it, and the deletion of the account.

It joins what accounts and finance store, which know nothing of each other. Both acts need the password (or second
factor) of the last minutes: the session may be stolen, or its browser unattended.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, cast

from allauth.account.internal.flows.reauthentication import is_reauthentication_required
from allauth.core.internal import ratelimit
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts import deletion, own_data
from accounts.models import User
from finance.models import Account, Customer, Record, SavedView, Transaction, customer_of
from finance.paging import all_of
from finance.record_types.transactions import TRANSACTIONS
from finance.trades import trades_of
from sync.mapping.extended_json import readable_json
from sync.mapping.limits import REFUSALS

CUSTOMER = ("username", "name", "email", "address", "birthdate", "active", "accounts", "tier_and_details")
ACCOUNT = ("account_id", "limit", "products")


@require_safe
@login_required
def page(request: HttpRequest) -> HttpResponse:
    """What the portal stores about the user, and what they can do with it."""
    return render(request, "accounts/my_data.html", {"confirmed": _is_confirmed(request)})


@require_safe
@login_required
def download(request: HttpRequest) -> HttpResponseBase:
    """All of the user's data as JSON, streamed."""
    if not ratelimit.consume(request, app="allauth.account", action="my_data", limit_get=True):
        return ratelimit.respond_429(request)
    if not _is_confirmed(request):
        return redirect("my_data")
    user = cast(User, request.user)
    parts = {"created_at": timezone.now(), **own_data.about(user, request.session.session_key)}
    lists: dict[str, Iterable[Any]] = {"your_acts": own_data.acts(user), **_records(user)}
    response = StreamingHttpResponse(_json(parts, lists), content_type="application/json")
    response["Content-Disposition"] = 'attachment; filename="my-data.json"'
    response["Cache-Control"] = "private, no-store"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete(request: HttpRequest) -> HttpResponse:
    """Deletes the account after a confirmation, or asks staff to do so; withdraws such a request."""
    with transaction.atomic():
        people = User.objects.select_for_update() if request.method == "POST" else User.objects.all()
        user = people.get(username=request.user.get_username())
        needs_staff = user.is_staff or user.is_superuser or customer_of(user) is not None
        is_last = deletion.is_last_superuser(user)
        if request.method != "POST":
            context = {"confirmed": _is_confirmed(request), "needs_staff": needs_staff, "is_last": is_last}
            return render(request, "accounts/delete_account.html", context | {"person": user})
        if not ratelimit.consume(request, app="allauth.account", action="delete_account"):
            return ratelimit.respond_429(request)
        if "withdraw" in request.POST:
            deletion.withdraw(request, user)
            messages.success(request, _("Your request was withdrawn. Your account stays as it is."))
            return redirect("my_data")
        if is_last or not _is_confirmed(request):
            return redirect("delete_account")
        if needs_staff:
            deletion.ask(request, user)
            messages.success(request, _("Your request was sent to our staff."))
            return redirect("delete_account")
        deletion.delete_now(request, user)
    messages.success(request, _("Your account was deleted."))
    return redirect("landing")


def _is_confirmed(request: HttpRequest) -> bool:
    return not is_reauthentication_required(request, app="allauth.account")


def _records(user: User) -> dict[str, Iterable[Any]]:
    """The linked customer's records, and the user's views. Staff see all customers' records, and get none here."""
    buckets = all_of(Transaction.objects.belonging_to(user), TRANSACTIONS.order())
    return {
        "customer": (_fields(record, CUSTOMER) for record in Customer.objects.belonging_to(user)),
        "accounts": (_fields(record, ACCOUNT) for record in Account.objects.belonging_to(user).order_by("pk")),
        "trades": (asdict(trade) for bucket in buckets for trade in trades_of(bucket).trades),
        "saved_views": SavedView.objects.filter(user=user.pk).order_by("name").values("name", "query"),
    }


def _fields(record: Record, names: Iterable[str]) -> dict[str, Any]:
    return {name: _plain(getattr(record, name)) for name in names}


def _plain(value: Any) -> Any:
    """The value for JSON; as text what another program has stored and JSON cannot hold."""
    if isinstance(value, datetime.datetime):
        return value
    try:
        return readable_json(value)
    except REFUSALS:
        return str(value)


def _json(parts: dict[str, Any], lists: dict[str, Iterable[Any]]) -> Iterator[bytes]:
    """One JSON object of the parts, and of the lists, which are read while they are sent."""
    for number, (name, value) in enumerate(parts.items()):
        yield b"%s%s: %s" % (b",\n" if number else b"{\n", _text(name), _text(value))
    for name, rows in lists.items():
        yield b",\n%s: [" % _text(name)
        for number, row in enumerate(rows):
            yield (b",\n" if number else b"\n") + _text(row)
        yield b"]"
    yield b"\n}\n"


def _text(value: Any) -> bytes:
    # Half of a surrogate pair, which another program may have stored, is escaped, in JSON as in Python.
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False).encode(errors="backslashreplace")
