"""The objects of entries: what their kinds are called, and the pages of those that still exist."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.text import capfirst

from audit.models import Entry


def kind_name(label: str) -> str:
    """ "Email address" for "account.emailaddress", and "Target" for "sync.target", which is no model."""
    model = model_of(label)
    name = str(model._meta.verbose_name) if model else label.rpartition(".")[2].replace("_", " ")
    return str(capfirst(name))


def add_links(request: HttpRequest, entries: Collection[Entry]) -> None:
    """Gives each entry `kind`, and `url`: the page of its object, or "" if it is gone or the user may not open it.

    One query for each kind among the entries.
    """
    keys: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        keys[entry.model].add(entry.key)
    pages = {label: _pages(request, label, wanted) for label, wanted in keys.items()}
    for entry in entries:
        entry.kind = kind_name(entry.model)  # type: ignore[attr-defined]
        entry.url = pages[entry.model].get(entry.key, "")  # type: ignore[attr-defined]


def _pages(request: HttpRequest, label: str, keys: Collection[str]) -> dict[str, str]:
    """The addresses of the objects that exist, by key."""
    model = model_of(label)
    if model is None or not (hasattr(model, "get_absolute_url") or _in_admin(request, model)):
        return {}
    valid = [key for key in keys if _is_key(model, key)]
    found: dict[str, Any] = {
        str(key): key for key in model._default_manager.filter(pk__in=valid).values_list("pk", flat=True)
    }
    return {text: url for text, key in found.items() if (url := _page(model, key))}


def _page(model: type[Model], key: Any) -> str:
    if hasattr(model, "get_absolute_url"):
        return str(model(pk=key).get_absolute_url())  # type: ignore[attr-defined]
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])
    except NoReverseMatch:
        return ""


def _in_admin(request: HttpRequest, model: type[Model]) -> bool:
    shown = admin.site._registry.get(model)
    return shown is not None and admin.site.has_permission(request) and shown.has_view_permission(request)


def model_of(label: str) -> type[Model] | None:
    """The model of this name. None, if there is none any more, or never was."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


def _is_key(model: type[Model], key: str) -> bool:
    try:
        model._meta.pk.run_validators(model._meta.pk.to_python(key))
    except (ValidationError, ValueError):
        return False
    return True
