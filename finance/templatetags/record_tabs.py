"""The tabs above the pages of records, for users who see all of them: one for each record type."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.text import capfirst

from finance.record_types import RECORD_TYPES, RecordType

register = template.Library()


@register.inclusion_tag("finance/tabs.html")
def record_tabs(current: RecordType | None = None) -> dict[str, Any]:
    return {
        "tabs": [
            {
                "label": capfirst(str(kind.model._meta.verbose_name_plural)),
                "page": kind.pages["list"],
                "is_current": kind is current,
            }
            for kind in RECORD_TYPES
        ]
    }
