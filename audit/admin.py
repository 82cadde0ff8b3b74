"""Records in the audit log what is done in the admin, whose forms change only what a user edited.

(The log itself is not in the admin: it cannot be edited.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db import router, transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from audit.editing import EditForm, save_changes
from audit.log import SECRET, record, snapshot
from audit.models import Act


class Audited(admin.ModelAdmin):
    """A mixin for a ModelAdmin whose forms are EditForms, and whose additions, changes and deletions are recorded.

    Django reads a row with `get_object` before it is edited, and writes its own log in the same transaction.
    secret_fields: of these only the fact of a change is recorded, not the value.
    """

    secret_fields: Collection[str] = SECRET

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        obj = super().get_object(request, object_id, from_field)
        if obj is not None and request.method == "POST":
            if transaction.get_connection(router.db_for_write(self.model)).in_atomic_block:
                # Locked from reading the row to writing it.
                obj = self.get_queryset(request).select_for_update().filter(pk=obj.pk).first()
            if obj is not None:
                request.audit_before = snapshot(obj)  # type: ignore[attr-defined]
        return obj

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        return type(form)(form.__name__, (EditForm, form), {"__module__": form.__module__})

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # The version has no field on the page: templates/admin/change_form.html puts it in front.
        return [name for name in super().get_fields(request, obj) if name != "version"]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            save_changes(obj, form.changed_fields)
        else:
            super().save_model(request, obj, form, change)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Saves the rows that are edited on the page of their parent, and records each."""
        keys = [row.pk for row in formset.get_queryset()]
        # Read again: the formset's own instances have the submitted values, and no key once they are deleted.
        rows = {row.pk: row for row in formset.model._base_manager.filter(pk__in=keys)}
        before = {key: snapshot(row) for key, row in rows.items()}
        deleted = [each.instance.pk for each in formset.deleted_forms]
        super().save_formset(request, form, formset, change)
        for row in formset.new_objects:
            record(request, Act.CREATE, row, after=snapshot(row), secret=self.secret_fields)
        for row, _names in formset.changed_objects:
            record(request, Act.CHANGE, row, before.get(row.pk), snapshot(row), secret=self.secret_fields)
        for key in deleted:
            if key in rows:
                record(request, Act.DELETE, rows[key], before=before[key], secret=self.secret_fields)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().render_change_form(request, context, *args, **kwargs)
        if getattr(context["adminform"].form, "conflict", False):
            response.status_code = 409
        return response

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        if getattr(request, "is_unchanged", False) and "_save" in request.POST:
            self.message_user(request, _("Nothing was changed."))
            return self.response_post_save_change(request, obj)
        return super().response_change(request, obj)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        record(request, Act.CREATE, obj, after=snapshot(obj), secret=self.secret_fields)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        if not message:
            request.is_unchanged = True  # type: ignore[attr-defined]
            return None
        # An action changes rows that `get_object` has not read; each action records its changes itself.
        if before := getattr(request, "audit_before", None):
            record(request, Act.CHANGE, obj, before, snapshot(obj), secret=self.secret_fields)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for obj in queryset:
            record(request, Act.DELETE, obj, before=snapshot(obj), secret=self.secret_fields)
        return super().log_deletions(request, queryset)  # type: ignore[arg-type]

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
        try:
            for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.to_python(key)  # type: ignore[union-attr]
        except ValidationError:
            self.message_user(request, _("No action taken: a selected row has no valid key."), messages.ERROR)
            return None
        with transaction.atomic():  # "delete selected" and its entries: both or neither
            return super().response_action(request, *args, **kwargs)
