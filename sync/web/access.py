"""Permissions of the mirror's pages. A user without the permission gets 403; an anonymous visitor is sent to log in."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpResponse

VIEW_CONSOLE = "sync.view_console"
VIEW_RECORD = "sync.view_record"
OPERATE = "sync.operate"

View = Callable[..., HttpResponse]


def allowed(permission: str) -> Callable[[View], View]:
    """Return a decorator for views that require this permission."""
    return lambda view: login_required(permission_required(permission, raise_exception=True)(view))
