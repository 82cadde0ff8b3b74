"""What pages show about people."""

from __future__ import annotations

from django import template
from django.template import Context

from accounts.models import User

register = template.Library()


@register.simple_tag(takes_context=True)
def pending_request_count(context: Context) -> int:
    """How many requests for a role wait for the person who looks at the page; 0 for who may not decide them."""
    user = context.get("user")
    if user is None or not user.is_staff or not user.has_perm("accounts.decide_requests"):
        return 0
    return User.pending_requests().count()
