"""A ModelAdmin mixin for tables that other programs write to. It lists and repairs rows with unreadable columns."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.http import HttpRequest
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sync.mapping.readable import SHOWN, ReadableForm, unreadable
from sync.mapping.reading import exact

NAMED = 5  # rows listed in a warning


class ReadsExactly(admin.ModelAdmin):
    """A ModelAdmin mixin that reads rows with `exact`: an unreadable row does not break the page."""

    form: Any = ReadableForm

    def get_queryset(self, request: HttpRequest) -> Any:
        return exact(super().get_queryset(request))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return _ChangeList

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response: Any = super().changelist_view(request, *args, **kwargs)
        shown = getattr(response, "context_data", {}).get("cl")
        odd = [row for row in getattr(shown, "result_list", ()) if getattr(row, "unreadable", None)]
        if odd:
            named = ", ".join(f"{row.pk} ({', '.join(row.unreadable)})" for row in odd[:NAMED])
            text = ngettext(
                "%(count)d row on this page has a value that cannot be read: %(rows)s. Open it to see why.",
                "%(count)d rows on this page have values that cannot be read: %(rows)s. Open them to see why.",
                len(odd),
            )
            more = ", …" if len(odd) > NAMED else ""
            messages.warning(request, text % {"count": len(odd), "rows": named + more})
        return response

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        obj = context.get("original")
        for name, (stored, why) in unreadable(obj).items():
            text = _("%(name)s cannot be read: %(why)s. The stored value is “%(stored)s”.")
            messages.warning(request, text % {"name": name, "why": why, "stored": Truncator(stored).chars(SHOWN)})
        return super().render_change_form(request, context, *args, **kwargs)


class _ChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        for row in self.result_list:
            for name in unreadable(row):
                if isinstance(row._meta.get_field(name), models.BooleanField):
                    setattr(row, name, None)  # the list has icons only for True, False and None
