"""What is done to one target as a whole: pause and resume, and the long work that a relay takes over."""

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
from sync.mapping.registry import KAFKA, Target, find_target
from sync.outbox.actions import set_paused
from sync.signals import operator_acted
from sync.web.access import OPERATE, allowed
from sync.workers.models import ModelState

# Each act, as a heading asks for it, and what it does.
ACTS = {
    "pause": (gettext_noop("Pause delivery"), gettext_noop("Changes wait in MySQL until somebody resumes it.")),
    "resume": (gettext_noop("Resume delivery"), gettext_noop("What waits is delivered.")),
    "verify": (
        gettext_noop("Verify"),
        gettext_noop("A relay compares every row with its document, beside the live traffic. Nothing is written."),
    ),
    "repair": (
        gettext_noop("Repair"),
        gettext_noop("A relay compares every row with its document, and delivers again what differs."),
    ),
    "backfill": (
        gettext_noop("Backfill"),
        gettext_noop("Every row is delivered again, by the relays and beside the live traffic. Newer changes stay."),
    ),
}


@require_http_methods(["GET", "HEAD", "POST"])
@allowed(OPERATE)
def act(request: HttpRequest, label: str, act: str) -> HttpResponse:
    """Asks whether to do it; does it when it is posted."""
    target = target_or_404(label)
    if act not in ACTS or (target.queue == KAFKA and act in ("verify", "repair")):
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
        messages.error(request, _("%s is paused. To repair it, resume it before.") % target.label)
    elif runner.ask(target, act, request.user.get_username(), prune=prune):
        _tell(request, act, target, after={"prune": True} if prune else {})
        messages.success(request, _("A relay takes it up. How far it is, is shown below."))
    else:
        messages.info(request, _("%s is already at work; wait for it to end, or stop it.") % target.label)


@require_POST
@allowed(OPERATE)
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    """Stops a job, wherever it is being done."""
    job = get_object_or_404(Job, pk=pk)
    with transaction.atomic():
        if runner.stop(pk, f"stopped by {request.user.get_username()}"):
            operator_acted.send(Job, request=request, act="stop", model="sync.job", key=str(pk), text=str(job))
            messages.success(request, _("It is stopped."))
        else:
            messages.info(request, _("It had ended before."))
    return redirect("sync:console")


def _tell(request: HttpRequest, act: str, target: Target, **changed: dict[str, bool]) -> None:
    label = target.label
    operator_acted.send(target.model, request=request, act=act, model="sync.target", key=label, text=label, **changed)
