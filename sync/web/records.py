"""A record's page: the row, its documents, its pending changes, and the button that delivers it now."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from sync.mapping.registry import label as label_of
from sync.mapping.registry import targets
from sync.outbox.actions import RETRY, deliver_again, told
from sync.outbox.mirrored import MirroredModel
from sync.outbox.models import Change
from sync.signals import operator_acted
from sync.verification.inspection import find_key, find_model, inspect
from sync.web.access import OPERATE, VIEW_RECORD, allowed


@require_http_methods(["GET", "HEAD", "POST"])
@allowed(VIEW_RECORD)
@never_cache
def record_page(request: HttpRequest, label: str, key: str) -> HttpResponse:
    """GET: compare the row with its documents. POST: deliver the row now."""
    try:
        model = find_model(label)
        key = find_key(model, key)
    except (LookupError, ValueError):
        raise Http404 from None
    found = inspect(model, key)
    if not found.exists:
        raise Http404
    if request.method == "POST":
        if not request.user.has_perm(OPERATE):
            raise PermissionDenied
        _deliver_now(request, model, key)
        return redirect("sync:record", label, key)
    context = {
        "found": found,
        "label": label,
        "may_operate": request.user.has_perm(OPERATE),
        "address": _address(found.row),
    }
    return render(request, "sync/record.html", context)


def _address(row: Any) -> str:
    """Return the URL of the row's own page, if its model has get_absolute_url; otherwise an empty string."""
    return row.get_absolute_url() if hasattr(row, "get_absolute_url") else ""


def _deliver_now(request: HttpRequest, model: type[MirroredModel], key: str) -> None:
    """Record the key as changed, which replaces its failed changes. It is delivered on commit, like any save."""
    labels = [target.label for target in targets(model)]
    changes = Change.objects.filter(model__in=labels, key=key, until="")
    with transaction.atomic():
        outcome = deliver_again(targets(model), [key], inline=True)
        operator_acted.send(model, request=request, act="deliver", model=label_of(model), key=key)
    if outcome.in_flight:
        messages.info(request, told(RETRY, outcome)[-1])
    waiting = changes.undelivered().order_by("recorded_at").first()
    if waiting is None:
        messages.success(request, _("Delivered."))
    elif waiting.error:
        messages.error(request, _("Not delivered: %s") % waiting.error)
    else:
        messages.warning(request, _("Queued. A relay delivers the record as soon as possible."))
