"""The bell in the header: what waits for the signed-in user."""

from __future__ import annotations

from typing import Any

from django import template

from sync.web.alerts import open_incidents

register = template.Library()


@register.inclusion_tag("includes/bell.html", takes_context=True)
def bell(context: Any) -> dict[str, Any]:
    """A list of (text, address). An error page may have no request, or one that no middleware has seen."""
    request = context.get("request")
    return {"items": open_incidents(request) if hasattr(request, "user") else []}
