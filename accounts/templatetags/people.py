"""What pages show about users."""

from __future__ import annotations

from django import template
from django.template import Context

from accounts.models import User

register = template.Library()


@register.simple_tag(takes_context=True)
def pending_request_count(context: Context) -> int:
    """How many role requests are pending for the user of the page; 0 for users who may not decide them."""
    user = context.get("user")
    if user is None or not user.is_staff or not user.has_perm("accounts.decide_requests"):
        return 0
    return User.pending_requests().count()
