"""The console: the mirror's state, which follows by itself."""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from sync.jobs import runner
from sync.mapping.registry import KAFKA
from sync.monitoring import history
from sync.monitoring.status import WORDS, Counts, Status, counts_of, status
from sync.outbox.failures import troubled
from sync.web.access import OPERATE, VIEW_CONSOLE, allowed
from sync.web.charts import charts, table

SHOWN = 10  # changes in trouble that the console names; a page of their own has more
COUNTS, COUNTS_AGE = "sync.counts", 30  # seconds for which a count of all rows and documents is shown


@require_safe
@allowed(VIEW_CONSOLE)
@never_cache
def console(request: HttpRequest) -> HttpResponse:
    return render(request, "sync/console.html", _context(request))


@require_safe
@never_cache
def live(request: HttpRequest) -> HttpResponse:
    """The part of the console that the browser asks for again and again."""
    if "HX-Request" in request.headers and not request.user.is_authenticated:
        # The login page would be put into the middle of this one.
        return HttpResponse(headers={"HX-Refresh": "true"})
    return _live(request)


@allowed(VIEW_CONSOLE)
def _live(request: HttpRequest) -> HttpResponse:
    return render(request, "sync/live.html", _context(request))


def _context(request: HttpRequest) -> dict[str, Any]:
    now, newest, taken = _status(), runner.latest(), history.recent()
    return {
        "status": now,
        "means": WORDS[now.word],
        "models": [(model, newest.get(model.model), model.queue != KAFKA) for model in now.models],
        "charts": charts(taken),
        "figures": table(taken),
        "troubled": troubled("default").order_by("-failed", "recorded_at")[:SHOWN],
        "troubled_count": sum(each.failed + each.retrying for model in now.models for each in model.failures),
        "may_operate": request.user.has_perm(OPERATE),
        "now": timezone.now(),
    }


def _status() -> Status:
    counts: Counts | None = cache.get(COUNTS)
    now = status(counts=counts)
    if counts is None and not now.mongodb_error:
        cache.set(COUNTS, counts_of(now), COUNTS_AGE)
    return now
