"""Views of senior management's dashboard that a user saves under a name."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from finance.models import VIEW_TOTALS, SavedView

KEPT = ("first", "last", "symbol", "product", "tier", "customer")  # of a query


class SaveForm(forms.ModelForm):
    """A name for the question of a query string. Parameters that the dashboard does not know are left out."""

    query = forms.CharField(required=False, max_length=2000, widget=forms.HiddenInput)

    class Meta:
        model = SavedView
        fields = ("name",)
        labels = {"name": gettext_lazy("Name")}

    def clean_query(self) -> str:
        asked = QueryDict(self.cleaned_data["query"])
        query = urlencode({name: asked[name] for name in KEPT if asked.get(name)})
        if len(query) > SavedView.LONGEST:
            raise forms.ValidationError(_("This view is too long to save."))
        return query


@require_POST
@login_required
@permission_required(VIEW_TOTALS, raise_exception=True)
def save(request: HttpRequest) -> HttpResponse:
    """Saves the view under a name, in place of an earlier one with that name."""
    form = SaveForm(request.POST)
    if not form.is_valid():
        for problems in form.errors.values():
            messages.error(request, " ".join(map(str, problems)))
        return redirect("finance:totals_dashboard")
    name, query = form.cleaned_data["name"], form.cleaned_data["query"]
    own: Any = SavedView.objects.filter(user=request.user.pk)
    with transaction.atomic():
        is_full = own.select_for_update().exclude(name=name).count() >= SavedView.MOST
        if not is_full:
            own.update_or_create(name=name, defaults={"query": query, "user": request.user})
    if is_full:
        messages.error(request, _("You have %(number)s saved views. Remove one first.") % {"number": SavedView.MOST})
    else:
        messages.success(request, _("The view “%(name)s” is saved.") % {"name": name})
    return redirect(f"{reverse('finance:totals_dashboard')}?{query}")


@require_POST
@login_required
@permission_required(VIEW_TOTALS, raise_exception=True)
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    view = get_object_or_404(SavedView, pk=pk, user=request.user.pk)
    view.delete()
    messages.success(request, _("The view “%(name)s” is removed.") % {"name": view.name})
    return redirect("finance:totals_dashboard")
