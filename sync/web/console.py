"""The console: the state of the mirror, which the browser reloads every few seconds."""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from sync.jobs import runner
from sync.mapping.kinds import kind_of
from sync.monitoring.history import DEFAULT, RANGES, SUMMARIZED, points
from sync.monitoring.status import MEANS, Counts, Status, counts_of, status
from sync.outbox.failures import troubled
from sync.web.access import OPERATE, VIEW_CONSOLE, allowed
from sync.web.charts import charts, table
from sync.web.steps import COMMANDS, RELAY, steps

SHOWN = 10  # failed changes on the console; the page of failed changes has more
COUNTS, COUNTS_AGE = "sync.counts", 30  # cache key and seconds of a count of all rows and documents


@require_safe
@allowed(VIEW_CONSOLE)
@never_cache
def console(request: HttpRequest) -> HttpResponse:
    return render(request, "sync/console.html", _context(request))


@require_safe
@never_cache
def live(request: HttpRequest) -> HttpResponse:
    """The part of the console that the browser reloads."""
    if "HX-Request" in request.headers and not request.user.is_authenticated:
        # htmx would insert the login page into the console. Reload the whole page instead.
        return HttpResponse(headers={"HX-Refresh": "true"})
    return _live(request)


@allowed(VIEW_CONSOLE)
def _live(request: HttpRequest) -> HttpResponse:
    return render(request, "sync/live.html", _context(request))


def _context(request: HttpRequest) -> dict[str, Any]:
    now, newest = _status(), runner.latest()
    return {
        "status": now,
        "means": MEANS[now.word],
        "steps": steps(now),
        "commands": COMMANDS.get(now.word, ()),
        "relay_command": RELAY,
        "models": [(model, newest.get(model.model), kind_of(model.queue).readable) for model in now.models],
        "processes": now.processes,
        "troubled": troubled("default").order_by("-failed", "recorded_at")[:SHOWN],
        "troubled_count": sum(each.changes for model in now.models for each in model.failures),
        "may_operate": request.user.has_perm(OPERATE),
        "now": timezone.now(),
        **_history(request.GET.get("range", "")),
    }


def _history(name: str) -> dict[str, Any]:
    """Return what the charts show: the range of this name, or the default one if there is none."""
    name = name if name in RANGES else DEFAULT
    shown = RANGES[name]
    history = points(shown)
    return {
        "ranges": RANGES,
        "range_name": name,
        "range": shown,
        "is_summarized": shown in SUMMARIZED,
        "charts": charts(shown, history),
        "charts_since": history[0].at,
        "figures": table(history),
    }


def _status() -> Status:
    counts: Counts | None = cache.get(COUNTS)
    now = status(counts=counts)
    if counts is None and not now.mongodb_error:
        cache.set(COUNTS, counts_of(now), COUNTS_AGE)
    return now
