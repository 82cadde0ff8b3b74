"""System checks of pulled models: E020 to E024."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error

from sync.fields import DocumentField
from sync.mapping import codec, mirrored_fields
from sync.pulled import PulledModel, PulledQuerySet, Source, pulled_models
from sync.registry import all_targets


def check_pulled_models(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Each pulled model, and no collection both pulled and mirrored."""
    errors: list[CheckMessage] = []
    mirrored = {target.place for target in all_targets() if not target.lane}
    for model in pulled_models():
        if not isinstance(getattr(model, "source", None), Source):
            hint = 'Declare source = Source("collection").'
            errors.append(Error(f"{model._meta.label} does not say where it is pulled from.", hint, model, "sync.E020"))
            continue
        if hasattr(model, "mirror") or model.source.collection in mirrored:
            problem = (
                f"The collection {model.source.collection!r} is both pulled, by {model._meta.label}, and mirrored."
            )
            hint = "A collection follows MySQL or MySQL follows it: use another collection for one of them."
            errors.append(Error(problem, hint, model, "sync.E021"))
        errors += [*_managers(model), *_shape(model)]
    return errors


def _managers(model: type[PulledModel]) -> list[CheckMessage]:
    managers = {manager.name: manager for manager in [*model._meta.managers, model._base_manager]}
    hint = "Make it with PulledManager.from_queryset(...), and let Meta inherit PulledModel.Meta."
    return [
        Error(f"{model._meta.label}.{name} could change rows that come from MongoDB.", hint, model, "sync.E022")
        for name, manager in managers.items()
        if not isinstance(manager.get_queryset(), PulledQuerySet)
    ]


def _shape(model: type[PulledModel]) -> list[CheckMessage]:
    fields = {field.name: field for field in model._meta.concrete_fields}
    source = model.source
    errors: list[CheckMessage] = [
        Error(f"{model._meta.label} has no field {name!r} to exclude.", None, model, "sync.E023")
        for name in source.exclude
        if name not in fields
    ]
    if source.extra and not isinstance(fields.get(source.extra), DocumentField):
        errors.append(Error(f"{model._meta.label}.{source.extra} must be a DocumentField.", None, model, "sync.E023"))
    if any(not parent._meta.abstract for parent in model._meta.all_parents):
        problem = f"{model._meta.label} inherits from another table; a document is one row of one table."
        errors.append(Error(problem, "Let it inherit from abstract models only.", model, "sync.E024"))
    for _, field in mirrored_fields(model):
        if codec(field) is None:
            hint = "Give the field to_bson() and from_bson(), or exclude it."
            problem = f"There is no BSON type for {model._meta.label}.{field.name}."
            errors.append(Error(problem, hint, model, "sync.E024"))
    return errors
