"""The user's own data, as one file. It joins what accounts and finance store, which know nothing of each other."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, cast

from allauth.account.internal.flows.reauthentication import is_reauthentication_required
from allauth.core.internal import ratelimit
from django.contrib.auth.decorators import login_required
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts import own_data
from accounts.models import User
from finance.models import Account, Customer, Record, SavedView, Transaction
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
    return render(request, "accounts/my_data.html", {"confirmed": is_confirmed(request)})


@require_safe
@login_required
def download(request: HttpRequest) -> HttpResponseBase:
    """All of the user's data as JSON, streamed."""
    if not ratelimit.consume(request, app="allauth.account", action="my_data", limit_get=True):
        return ratelimit.respond_429(request)
    if not is_confirmed(request):
        return redirect("my_data")
    user = cast(User, request.user)
    parts = {"created_at": timezone.now(), **own_data.about(user, request.session.session_key)}
    lists: dict[str, Iterable[Any]] = {"your_acts": own_data.acts(user), **_records(user)}
    response = StreamingHttpResponse(_json(parts, lists), content_type="application/json")
    response["Content-Disposition"] = 'attachment; filename="my-data.json"'
    response["Cache-Control"] = "private, no-store"
    return response


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the user has confirmed the password (or second factor) recently: the session may be stolen."""
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
