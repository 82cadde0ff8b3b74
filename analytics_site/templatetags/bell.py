"""The bell in the header: what waits for the signed-in user."""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import reverse
from django.utils.translation import ngettext

from analytics_site.waiting import waiting_count
from sync.core.humanize import grouped
from sync.web.alerts import open_incidents

register = template.Library()


@register.inclusion_tag("includes/bell.html", takes_context=True)
def bell(context: Any) -> dict[str, Any]:
    """items: a list of (text, address). An error page may have no request, or one that no middleware has seen."""
    request = context.get("request")
    if not hasattr(request, "user"):
        return {"items": []}
    incidents, people = open_incidents(request), waiting_people(context)
    waiting = [(people["text"], people["address"])] if people else []
    return {"items": incidents + waiting, "number": len(incidents) + people.get("count", 0), "is_urgent": incidents}


@register.simple_tag(takes_context=True)
def waiting_people(context: Any) -> dict[str, Any]:
    """How many people wait for the user of the page: `count`, `text` and `address` of their page. Empty if none do."""
    user = context.get("user")
    count = waiting_count(user) if user is not None else 0
    if not count:
        return {}
    text = ngettext("%s person waits", "%s people wait", count) % grouped(count)
    return {"count": count, "text": text, "address": reverse("people")}
