"""The page of failed changes: search, retry and discard."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from sync.core.clock import DatabaseNow
from sync.core.humanize import counted
from sync.mapping.registry import all_targets
from sync.outbox.actions import DISCARD, RETRY, told
from sync.outbox.failures import CLASSES, OTHER, troubled
from sync.outbox.models import Acted, Change, ChangeQuerySet
from sync.signals import operator_acted
from sync.web.access import OPERATE, VIEW_CONSOLE, allowed

SHOWN = 100  # changes on the page, which an operator can select
KEPT = 100  # keys stored in one audit entry


# The choices of an age: its name, its lookup on the time of the change, and that time before now.
AGES = {
    "hour": (gettext_lazy("Last hour"), "gte", timedelta(hours=1)),
    "day": (gettext_lazy("Last 24 hours"), "gte", timedelta(days=1)),
    "older": (gettext_lazy("Older than 24 hours"), "lt", timedelta(days=1)),
    "week": (gettext_lazy("Older than 7 days"), "lt", timedelta(days=7)),
}


class Search(forms.Form):
    """Filters failed changes by model, class of reason and age."""

    model = forms.ChoiceField(required=False, label=gettext_lazy("Model"))
    reason = forms.ChoiceField(required=False, label=gettext_lazy("Reason"))
    age = forms.ChoiceField(required=False, label=gettext_lazy("Recorded"))

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        labels = [target.label for target in all_targets()]
        reasons = [name for name, _q in CLASSES] + [OTHER]
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-select"
        fields: dict[str, Any] = self.fields
        fields["model"].choices = [("", _("Any")), *((name, name) for name in labels)]
        fields["reason"].choices = [("", _("Any")), *((name, _(name)) for name in reasons)]
        fields["age"].choices = [("", _("Any time")), *((name, title) for name, (title, *_how) in AGES.items())]

    def find(self) -> ChangeQuerySet:
        """Return the matching changes; none if the search is invalid."""
        found = troubled("default").order_by("-failed", "recorded_at")
        if not self.is_valid():
            return found.none()
        chosen = self._chosen()
        if age := chosen.pop("age", ""):
            _title, lookup, before = AGES[age]
            chosen[f"recorded_at__{lookup}"] = DatabaseNow() - before
        return found.filter(**chosen)

    @property
    def address(self) -> str:
        """The URL of this search."""
        chosen = self._chosen() if self.is_valid() else {}
        return reverse("sync:changes") + (f"?{urlencode(chosen)}" if chosen else "")

    def _chosen(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if value}


@require_safe
@allowed(VIEW_CONSOLE)
@never_cache
def changes(request: HttpRequest) -> HttpResponse:
    search = Search(request.GET)
    found = search.find()
    context = {
        "search": search,
        "changes": found[:SHOWN],
        "count": found.count(),
        "may_operate": request.user.has_perm(OPERATE),
        "now": timezone.now(),
    }
    return render(request, "sync/changes.html", context)


class Order(forms.Form):
    """An action on selected or all changes. `expected` is their number when the operator confirmed."""

    act = forms.ChoiceField(choices=[(RETRY, RETRY), (DISCARD, DISCARD)])
    which = forms.ChoiceField(choices=[("selected", "selected"), ("all", "all")])
    expected = forms.IntegerField(required=False, min_value=0)
    sure = forms.BooleanField(required=False)


@require_POST
@allowed(OPERATE)
def order(request: HttpRequest) -> HttpResponse:
    """Retry or discard changes. Discarding, and any action on all changes, needs a confirmation."""
    search, wanted = Search(request.POST), Order(request.POST)
    if not (wanted.is_valid() and search.is_valid()):
        messages.error(request, _("This action is not valid. Select the changes and the action again."))
        return redirect("sync:changes")
    act, which = wanted.cleaned_data["act"], wanted.cleaned_data["which"]
    keys = request.POST.getlist("change")[:SHOWN]
    chosen = search.find() if which == "all" else Change.objects.filter(pk__in=keys)
    expected = wanted.cleaned_data["expected"] if which == "all" else len(keys)
    if which == "selected" and not keys:
        messages.info(request, _("No change was selected. Select at least one."))
        return redirect(search.address)
    if not wanted.cleaned_data["sure"] and (which == "all" or act == DISCARD):
        matching = chosen.count()
        count = chosen.filter(failed=True).count() if act == DISCARD else matching
        if matching and not count:
            messages.info(request, _("Nothing to discard: these changes are retried automatically."))
            return redirect(search.address)
        context = {
            "search": search, "act": act, "which": which, "keys": keys, "count": count, "matching": matching,
            "left": matching - count,
        }  # fmt: skip
        return render(request, "sync/confirm_changes.html", context)
    _tell(request, act, _act(request, act, chosen, expected or 0))
    return redirect(search.address)


def _act(request: HttpRequest, act: str, chosen: ChangeQuerySet, expected: int) -> Acted:
    named = [f"{model} {key}" for model, key in chosen.values_list("model", "key")[:KEPT]]
    outcome = chosen.retry() if act == RETRY else chosen.discard()
    after = {"changes": outcome.done, "of": expected, "keys": named}
    text = counted(outcome.done, "change", "changes")
    operator_acted.send(Change, request=request, act=act, model="sync.change", text=text, after=after)
    return outcome._replace(skipped=max(expected - outcome.done - outcome.in_flight, 0))


def _tell(request: HttpRequest, act: str, outcome: Acted) -> None:
    if not outcome.done and outcome.is_complete:
        messages.info(request, _("Nothing to do: no changes matched."))
        return
    done, *skipped = told(act, outcome)
    if outcome.done:
        messages.success(request, done)
    for sentence in skipped:
        messages.warning(request, sentence)
