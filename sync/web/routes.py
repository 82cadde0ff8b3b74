"""The buttons that pause and resume a route."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from sync.monitoring.routes import set_route_paused
from sync.signals import operator_acted
from sync.web.access import OPERATE, allowed
from sync.workers.models import Checkpoint


@require_POST
@allowed(OPERATE)
def act_on_route(request: HttpRequest, name: str, act: str) -> HttpResponse:
    """Pause or resume a route that has a checkpoint."""
    checkpoint = Checkpoint.objects.filter(name=name).first()
    if checkpoint is None or act not in ("pause", "resume"):
        raise Http404
    paused = act == "pause"
    with transaction.atomic():
        sentence = set_route_paused(checkpoint.name, paused=paused)
        operator_acted.send(
            Checkpoint, request=request, act=act, model="sync.checkpoint", key=checkpoint.name, text=checkpoint.name,
            before={"paused": checkpoint.paused}, after={"paused": paused},
        )  # fmt: skip
    messages.success(request, sentence)
    return redirect("sync:console")
