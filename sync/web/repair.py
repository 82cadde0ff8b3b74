"""Repair of a target: what it would change, by the last verification, and its confirmation with these numbers."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from sync.mapping.registry import Target
from sync.verification.plan import plan
from sync.web.access import OPERATE, allowed
from sync.web.targets import queue, target_or_404
from sync.workers.models import ModelState


class Confirmed(forms.Form):
    """The numbers of the plan that the operator saw, and whether documents without a row are deleted."""

    write = forms.IntegerField(min_value=0)
    delete = forms.IntegerField(min_value=0)
    prune = forms.BooleanField(required=False)


@require_http_methods(["GET", "HEAD", "POST"])
@allowed(OPERATE)
@never_cache
def repair(request: HttpRequest, label: str) -> HttpResponse:
    """GET: show what a repair would change. POST: queue it, if the numbers are still the same."""
    target = target_or_404(label)
    if not target.kind.readable:
        raise Http404
    if request.method == "POST":
        with transaction.atomic():
            is_queued = _queue(request, target)
        return redirect("sync:console") if is_queued else redirect("sync:repair", label)
    is_paused = target.label in ModelState.objects.paused("default")
    return render(request, "sync/repair.html", {"target": target, "plan": plan(target.label), "is_paused": is_paused})


def _queue(request: HttpRequest, target: Target) -> bool:
    if target.label in ModelState.objects.paused("default"):
        messages.error(request, _("%s is paused and cannot be repaired. Resume it first.") % target.label)
        return False
    form, planned = Confirmed(request.POST), plan(target.label)
    data = form.cleaned_data if form.is_valid() else {}
    if planned is None or (data.get("write"), data.get("delete")) != (planned.write, planned.delete):
        messages.warning(request, _("The numbers have changed. Check them, then confirm again."))
        return False
    prune = data["prune"]
    queue(request, target, "repair", prune=prune, write=planned.write, delete=planned.delete if prune else 0)
    return True
