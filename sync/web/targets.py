"""Actions on a whole target: pause, resume, and the jobs that a relay runs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import DEFAULT_DB_ALIAS, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_http_methods, require_POST

from sync.jobs import runner
from sync.jobs.models import Job
from sync.mapping.registry import Target, all_rows, find_target
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
    if act not in ACTS or (act == "verify" and not target.kind.readable):
        raise Http404
    if request.method == "POST":
        with transaction.atomic():
            _do(request, target, act)
        return redirect("sync:console")
    heading, meaning = ACTS[act]
    context: dict[str, Any] = {"target": target, "act": act, "heading": heading, "means": meaning}
    if act == "backfill":
        context["rows"] = all_rows(target.model, DEFAULT_DB_ALIAS).count()
    return render(request, "sync/confirm_act.html", context)


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
        tell(request, act, target, before={"paused": was}, after={"paused": paused})
        messages.success(request, sentence)
    else:
        queue(request, target, act)


def queue(request: HttpRequest, target: Target, kind: str, *, prune: bool = False, **numbers: int) -> None:
    """Queue a job, and report it. numbers: what the operator has confirmed, for the audit log."""
    if runner.ask(target, kind, request.user.get_username(), prune=prune):
        tell(request, kind, target, after=numbers)
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


def tell(request: HttpRequest, act: str, target: Target, **changed: dict[str, int]) -> None:
    """Record an action on a target in the audit log."""
    label = target.label
    operator_acted.send(target.model, request=request, act=act, model="sync.target", key=label, text=label, **changed)
