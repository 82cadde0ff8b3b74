"""Actions on a whole target: pause, resume, and the jobs that a relay runs."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_http_methods, require_POST

from sync.jobs import runner
from sync.jobs.models import Job
from sync.mapping.registry import Target, find_target
from sync.outbox.actions import set_paused
from sync.signals import operator_acted
from sync.web.access import OPERATE, allowed
from sync.workers.models import ModelState

# The heading and the explanation of each action.
ACTS = {
    "pause": (gettext_noop("Pause delivery"), gettext_noop("Changes wait in MySQL until delivery is resumed.")),
    "resume": (gettext_noop("Resume delivery"), gettext_noop("Relays deliver the waiting changes.")),
    "verify": (
        gettext_noop("Verify"),
        gettext_noop("A relay compares every row with its document and writes nothing. The application keeps running."),
    ),
    "repair": (
        gettext_noop("Repair"),
        gettext_noop("A relay compares every row with its document, and delivers mismatched rows again."),
    ),
    "backfill": (
        gettext_noop("Backfill"),
        gettext_noop("Relays deliver every row again. The application keeps running, and newer documents are kept."),
    ),
}


@require_http_methods(["GET", "HEAD", "POST"])
@allowed(OPERATE)
def act(request: HttpRequest, label: str, act: str) -> HttpResponse:
    """GET: ask for confirmation. POST: perform the action."""
    target = target_or_404(label)
    if act not in ACTS or (act in ("verify", "repair") and not target.kind.readable):
        raise Http404
    if request.method == "POST":
        with transaction.atomic():
            _do(request, target, act)
        return redirect("sync:console")
    heading, meaning = ACTS[act]
    return render(
        request, "sync/confirm_act.html", {"target": target, "act": act, "heading": heading, "means": meaning}
    )


def target_or_404(label: str) -> Target:
    """Return the target with this label. Raises Http404."""
    try:
        return find_target(label)
    except (LookupError, ValueError, AttributeError):
        raise Http404 from None


def _do(request: HttpRequest, target: Target, act: str) -> None:
    if act in ("pause", "resume"):
        was, paused = target.label in ModelState.objects.paused("default"), act == "pause"
        [sentence] = set_paused([target.label], paused=paused)
        _tell(request, act, target, before={"paused": was}, after={"paused": paused})
        messages.success(request, sentence)
        return
    prune = act == "repair" and "prune" in request.POST
    if act == "repair" and target.label in ModelState.objects.paused("default"):
        messages.error(request, _("%s is paused and cannot be repaired. Resume it first.") % target.label)
    elif runner.ask(target, act, request.user.get_username(), prune=prune):
        _tell(request, act, target, after={"prune": True} if prune else {})
        messages.success(request, _("Queued. Progress appears below."))
    else:
        messages.info(request, _("A job for %s is already running. Wait until it finishes, or stop it.") % target.label)


@require_POST
@allowed(OPERATE)
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop a job, in whichever process it runs."""
    job = get_object_or_404(Job, pk=pk)
    with transaction.atomic():
        if runner.stop(pk, f"stopped by {request.user.get_username()}"):
            operator_acted.send(Job, request=request, act="stop", model="sync.job", key=str(pk), text=str(job))
            messages.success(request, _("The job is stopped."))
        else:
            messages.info(request, _("The job had already finished."))
    return redirect("sync:console")


def _tell(request: HttpRequest, act: str, target: Target, **changed: dict[str, bool]) -> None:
    label = target.label
    operator_acted.send(target.model, request=request, act=act, model="sync.target", key=label, text=label, **changed)
