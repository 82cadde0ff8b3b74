"""Entering, editing and deleting records in the portal."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from audit import log
from audit.models import Act
from finance.access import visible_or_404
from finance.forms import AccountForm, CustomerForm, DeleteForm, RecordForm, TransactionForm
from finance.models import EDIT_RECORDS, Account, Customer, Record, Transaction
from finance.unreadable import facts
from sync.outbox.models import Change

CONFLICT = 409
FORMS: dict[type[Record], type[RecordForm]] = {
    Account: AccountForm,
    Customer: CustomerForm,
    Transaction: TransactionForm,
}


def editors_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @require_http_methods(["GET", "HEAD", "POST"])
    @login_required
    @permission_required(EDIT_RECORDS, raise_exception=True)
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return view(request, *args, **kwargs)

    return checked


@editors_only
def create(request: HttpRequest, model: type[Record]) -> HttpResponse:
    form = FORMS[model](_sent(request))
    record = None
    with transaction.atomic():
        if form.is_valid():
            record = form.save()
            log.record(request, Act.CREATE, record, None, log.snapshot(record))
    if record is not None:
        _tell(request, record, _("It is saved"))
        return redirect(record)
    context = {
        "form": form,
        "title": _("Add %(kind)s") % {"kind": model._meta.verbose_name},
        "back": f"finance:{model._meta.model_name}_list",
    }
    return render(request, "finance/record_form.html", context)


@editors_only
def edit(request: HttpRequest, model: type[Record], pk: str) -> HttpResponse:
    # From reading the row to writing it, nobody else can: the version that is compared is the one that is replaced.
    with transaction.atomic():
        record = visible_or_404(request, model, pk, lock=request.method == "POST")
        title = _("Edit: %(record)s") % {"record": record}  # as stored: the form writes what was typed to the record
        before, unreadable = log.snapshot(record), facts(record)
        form = FORMS[model](_sent(request), instance=record)
        valid = form.is_valid()
        saved = form.save() if valid else None
        if saved:
            log.record(request, Act.CHANGE, saved, before, log.snapshot(saved))
    if not valid:
        context = {"form": form, "title": title, "record": record, "unreadable": unreadable}
        return render(request, "finance/record_form.html", context, status=CONFLICT if form.conflict else 200)
    if saved is None:
        messages.info(request, _("Nothing was changed."))
    else:
        _tell(request, record, _("It is saved"))
    return redirect(record)


@editors_only
def delete(request: HttpRequest, model: type[Record], pk: str) -> HttpResponse:
    with transaction.atomic():
        record = visible_or_404(request, model, pk, lock=request.method == "POST")
        form = DeleteForm(_sent(request), instance=record)
        confirmed = form.is_valid()
        if confirmed:
            log.record(request, Act.DELETE, record, log.snapshot(record), None)
            record.delete()
    if not confirmed:
        context = {"form": form, "record": record, "kind": model._meta.verbose_name, "facts": _facts(record)}
        return render(request, "finance/record_delete.html", context, status=CONFLICT if form.conflict else 200)
    record.pk = pk  # which a delete takes from its object
    _tell(request, record, _("It is deleted"))
    return redirect(f"finance:{model._meta.model_name}_list")


def _sent(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None


def _facts(record: Record) -> list[tuple[str, Any]]:
    """What somebody looks at before they delete it."""
    shown = {
        "account": ("account_id", "limit", "products"),
        "customer": ("name", "username", "email", "accounts"),
        "transaction": ("account_id", "transaction_count", "bucket_start_date", "bucket_end_date"),
    }[str(record._meta.model_name)]
    facts = []
    for name in shown:
        value = getattr(record, name)
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        elif isinstance(value, datetime.datetime):
            value = f"{value:%Y-%m-%d}"
        label = getattr(record._meta.get_field(name), "verbose_name", name)
        facts.append((capfirst(str(label)), value))
    return [*facts, ("_id", record.pk)]


def _tell(request: HttpRequest, record: Record, done: str) -> None:
    changes = Change.objects.undelivered().filter(model=record._meta.label_lower, key=record.pk)
    if changes.exists():
        later = _("%(done)s in MySQL. MongoDB gets the change as soon as it can.")
        messages.warning(request, later % {"done": done})
    else:
        messages.success(request, _("%(done)s, in MySQL and in MongoDB.") % {"done": done})
