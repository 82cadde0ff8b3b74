"""Each user's language, time zone and number format, and the pages to choose them.

analytics_site.preferences applies them.
"""

from __future__ import annotations

import zoneinfo
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST
from django.views.i18n import set_language

from accounts.models import User
from audit.editing import EditForm

CONFLICT = 409


class PreferencesForm(EditForm):
    time_zone = forms.ChoiceField(required=False)

    class Meta:
        model = User
        fields = ["language", "time_zone", "number_format"]

    def fit(self) -> None:
        model_field: Any = User._meta.get_field("time_zone")
        self.fields["time_zone"].label = model_field.verbose_name.capitalize()
        self.fields["time_zone"].help_text = model_field.help_text
        names = sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})
        zones = [("", "UTC"), *((name, name.replace("_", " ")) for name in names if "/" in name)]
        self.fields["time_zone"].choices = zones  # type: ignore[attr-defined]


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        people = User.objects.select_for_update() if request.method == "POST" else User.objects.all()
        user = get_object_or_404(people, pk=request.user.pk)
        form = PreferencesForm(request.POST or None, instance=user)
        saved = request.method == "POST" and form.is_valid()
        if saved:
            form.save()
    if not saved:
        return render(request, "accounts/preferences.html", {"form": form}, status=CONFLICT if form.conflict else 200)
    if user.language:
        translation.activate(user.language)
    messages.success(request, _("Preferences saved.") if form.changed_data else _("Nothing was changed."))
    return redirect("preferences")


@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    """The language menu: for this browser, and for a signed-in user's other browsers, too."""
    code = request.POST.get("language", "")
    if request.user.is_authenticated and code in dict(settings.LANGUAGES):
        User.objects.filter(pk=request.user.pk).update(language=code)
    return set_language(request)
