"""The portal's name, for templates. A tag works on error pages and in emails, too, which no context processor sees."""

from __future__ import annotations

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def portal_name() -> str:
    return str(settings.PORTAL_NAME)
