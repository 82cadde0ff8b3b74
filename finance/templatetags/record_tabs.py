"""The tabs above the pages of records: one for each record type."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.text import capfirst

from finance.models import VIEW_ALL
from finance.record_types import RECORD_TYPES, RecordType

register = template.Library()


@register.inclusion_tag("finance/tabs.html", takes_context=True)
def record_tabs(context: Any, current: RecordType | None = None) -> dict[str, Any]:
    """All types for users who see all records. Customers get the types of which they can have records."""
    user = context["user"]
    tabs = []
    for kind in RECORD_TYPES:
        label = capfirst(str(kind.model._meta.verbose_name_plural)) if user.has_perm(VIEW_ALL) else kind.tab
        if label:
            tabs.append({"label": label, "page": kind.pages["list"], "is_current": kind is current})
    return {"tabs": tabs}
