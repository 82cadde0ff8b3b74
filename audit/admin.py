"""Keeps in the audit log what is done in the admin. (The log itself is not there: nobody edits it.)"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from audit.log import SECRET, record, snapshot
from audit.models import Act


class Audited(admin.ModelAdmin):
    """A mixin for a ModelAdmin whose creations, changes and deletions are kept, before and after.

    Django reads a row by `get_object` before it is edited, and tells its own log within the same transaction.
    secret_fields: of these it is kept that they changed, and not what to.
    """

    secret_fields: Collection[str] = SECRET

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        obj = super().get_object(request, object_id, from_field)
        if obj is not None and request.method == "POST":
            request.audit_before = snapshot(obj)  # type: ignore[attr-defined]
        return obj

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        record(request, Act.CREATE, obj, after=snapshot(obj), secret=self.secret_fields)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        # An action changes rows that `get_object` has not read; whoever writes one records it.
        if before := getattr(request, "audit_before", None):
            record(request, Act.CHANGE, obj, before, snapshot(obj), secret=self.secret_fields)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for obj in queryset:
            record(request, Act.DELETE, obj, before=snapshot(obj), secret=self.secret_fields)
        return super().log_deletions(request, queryset)  # type: ignore[arg-type]

    def response_action(self, *args: Any, **kwargs: Any) -> HttpResponse | None:
        with transaction.atomic():  # "delete selected" and its entries: both or neither
            return super().response_action(*args, **kwargs)
