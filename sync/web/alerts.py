"""The page of alerts: incidents, what was sent about them, and a button that sends a test."""

from __future__ import annotations

from django.contrib import messages
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from sync.core import conf
from sync.monitoring import notifications
from sync.monitoring.models import Incident
from sync.monitoring.status import TITLES
from sync.signals import operator_acted
from sync.web.access import OPERATE, VIEW_CONSOLE, allowed

SHOWN = 50  # incidents, the newest first
OPEN, BELL = "sync.open_incidents", 15  # the cache key of what the bell shows, and for how many seconds


@require_safe
@allowed(VIEW_CONSOLE)
@never_cache
def alerts(request: HttpRequest) -> HttpResponse:
    opened = Incident.objects.exclude(opened_at=None).prefetch_related("notifications")
    context = {
        "incidents": opened.order_by("-pk")[:SHOWN],
        "channels": [channel.label for channel in notifications.channels()],
        "emails": ", ".join(conf.ALERT_EMAILS),
        "after": conf.ALERT_AFTER,
        "lag": conf.ALERT_LAG,
        "may_operate": request.user.has_perm(OPERATE),
    }
    return render(request, "sync/alerts.html", context)


@require_POST
@allowed(OPERATE)
def send_test(request: HttpRequest) -> HttpResponse:
    """Send a test message to every channel, and report what each of them answered."""
    results = notifications.send_test()
    operator_acted.send(
        Incident, request=request, act="test", model="sync.incident", key="", text=", ".join(results),
        before={}, after={str(channel): error or "accepted" for channel, error in results.items()},
    )  # fmt: skip
    for channel, error in results.items():
        if error:
            messages.error(request, _("%(channel)s failed: %(error)s") % {"channel": channel.label, "error": error})
        else:
            messages.success(request, _("%(channel)s: the server accepted the test.") % {"channel": channel.label})
    if not results:
        messages.warning(request, _("No channel is set. Set SYNC_ALERT_EMAILS or SYNC_ALERT_WEBHOOK first."))
    return redirect("sync:alerts")


def open_incidents(request: HttpRequest) -> list[tuple[str, str]]:
    """The open incident as (text, address), for users who may see the console. Read at most every BELL seconds."""
    if not request.user.has_perm(VIEW_CONSOLE):
        return []
    states = cache.get_or_set(OPEN, _open_states, BELL) or []
    return [(_("Mirror: %s") % _(TITLES.get(state, state)), reverse("sync:alerts")) for state in states]


def _open_states() -> list[str]:
    return list(Incident.objects.filter(active=True).exclude(opened_at=None).values_list("state", flat=True))
