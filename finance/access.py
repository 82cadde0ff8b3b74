"""Who may see and edit which record. Every page loads records here, which also authorizes the request."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods

from finance.models import EDIT_RECORDS, VIEW_ALL, VIEW_OWN, Record

AnyRecord = TypeVar("AnyRecord", bound=Record)
View = Callable[..., HttpResponseBase]


def records_visible(view: View) -> View:
    """For users who may see all records or their own. Others get 403, and anonymous visitors the login page."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not (request.user.has_perm(VIEW_ALL) or request.user.has_perm(VIEW_OWN)):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return checked


def editors_only(view: View) -> View:
    """For users who may edit records. Others get 403, and anonymous visitors the login page."""
    allowed = permission_required(EDIT_RECORDS, raise_exception=True)(view)
    return require_http_methods(["GET", "HEAD", "POST"])(login_required(allowed))


def visible_or_404(request: HttpRequest, model: type[AnyRecord], pk: str, *, lock: bool = False) -> AnyRecord:
    """Returns the record, or 404 if it does not exist or the user may not see it: both cases must look the same.

    lock: locks the row until the end of the transaction.
    """
    records = model.objects.visible_to(request.user)
    return get_object_or_404(records.select_for_update() if lock else records, pk=pk)
