"""Adding, editing and deleting records in the portal."""

from __future__ import annotations

import datetime
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from audit import log
from audit.models import Act
from finance.access import editors_only, visible_or_404
from finance.forms import DeleteForm
from finance.models import Record
from finance.record_types import RecordType
from finance.unreadable import facts
from sync.core.humanize import day
from sync.models import DocumentField
from sync.outbox.models import Change

CONFLICT = 409


@editors_only
def create(request: HttpRequest, kind: RecordType) -> HttpResponse:
    form = kind.form(_sent(request), as_json=_as_json(request))
    record = None
    with transaction.atomic():
        if not form.only_changes_rows and form.is_valid():
            record = form.save()
            log.record(request, Act.CREATE, record, None, log.snapshot(record))
    if record is not None:
        _tell(request, record, _("Saved"))
        return redirect(record)
    title = _("Add %(kind)s") % {"kind": kind.model._meta.verbose_name}
    context = {"form": form, "title": title, "back": reverse(kind.pages["list"])}
    return render(request, "finance/record_form.html", context)


@editors_only
def edit(request: HttpRequest, kind: RecordType, pk: str) -> HttpResponse:
    # Locked from reading to writing: the version that is compared is the one that is replaced.
    with transaction.atomic():
        record = visible_or_404(request, kind.model, pk, lock=request.method == "POST")
        title = _("Edit: %(record)s") % {"record": record}  # as stored: the form writes what was typed to the record
        before, unreadable = log.snapshot(record), facts(record)
        form = kind.form(_sent(request), instance=record, as_json=_as_json(request))
        valid = not form.only_changes_rows and form.is_valid()
        saved = form.save() if valid else None
        if saved:
            log.record(request, Act.CHANGE, saved, before, log.snapshot(saved))
    if not valid:
        context = {"form": form, "title": title, "back": record.get_absolute_url(), "unreadable": unreadable}
        return render(request, "finance/record_form.html", context, status=CONFLICT if form.conflict else 200)
    if saved is None:
        messages.info(request, _("No changes to save."))
    else:
        _tell(request, record, _("Saved"))
    return redirect(record)


@editors_only
def delete(request: HttpRequest, kind: RecordType, pk: str) -> HttpResponse:
    with transaction.atomic():
        record = visible_or_404(request, kind.model, pk, lock=request.method == "POST")
        form = DeleteForm(_sent(request), instance=record)
        confirmed = form.is_valid()
        if confirmed:
            log.record(request, Act.DELETE, record, log.snapshot(record), None)
            record.delete()
    if not confirmed:
        title = _("Delete %(kind)s?") % {"kind": kind.model._meta.verbose_name}
        context = {"form": form, "title": title, "back": record.get_absolute_url(), "facts": _facts(kind, record)}
        return render(request, "finance/record_delete.html", context, status=CONFLICT if form.conflict else 200)
    record.pk = pk  # which delete() clears
    _tell(request, record, _("Deleted"))
    return redirect(kind.pages["list"])


def _sent(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None


def _as_json(request: HttpRequest) -> bool:
    return request.GET.get("edit") == "json"


def _facts(kind: RecordType, record: Record) -> list[tuple[str, Any]]:
    """What the confirmation of a delete shows: the columns of the list, without long JSON objects."""
    facts = []
    for name in kind.columns:
        field: Any = record._meta.get_field(name)
        if isinstance(field, DocumentField) and field.get_default() == {}:
            continue
        value = getattr(record, name)
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        elif isinstance(value, datetime.datetime):
            value = day(value)
        facts.append((capfirst(str(field.verbose_name)), value))
    return [*facts, ("_id", record.pk)]


def _tell(request: HttpRequest, record: Record, done: str) -> None:
    changes = Change.objects.undelivered().filter(model=record._meta.label_lower, key=record.pk)
    if changes.exists():
        later = _("%(done)s in MySQL. The change will be delivered to MongoDB shortly.")
        messages.warning(request, later % {"done": done})
    else:
        messages.success(request, _("%(done)s in MySQL and MongoDB.") % {"done": done})
