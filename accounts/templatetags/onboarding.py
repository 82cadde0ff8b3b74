"""`{% load onboarding %}`: the steps from a registration to a dashboard."""

from __future__ import annotations

from typing import Any

from django import template
from django.conf import settings

from accounts.models import User
from accounts.onboarding import steps_of

register = template.Library()


@register.inclusion_tag("accounts/onboarding.html")
def onboarding(user: User) -> dict[str, Any]:
    return {"steps": steps_of(user), "support": settings.SUPPORT_EMAIL}
