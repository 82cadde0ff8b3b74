"""Who may open which of the mirror's pages. Others get 403, and those not logged in the login page."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpResponse

VIEW_CONSOLE = "sync.view_console"
VIEW_RECORD = "sync.view_record"
OPERATE = "sync.operate"

View = Callable[..., HttpResponse]


def allowed(permission: str) -> Callable[[View], View]:
    """A decorator for views that take this permission."""
    return lambda view: login_required(permission_required(permission, raise_exception=True)(view))
