"""System check of DATABASE_ROUTERS: delivery reads and writes one database, whatever an application reads elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.db import DEFAULT_DB_ALIAS, models, router

from sync.core import causal
from sync.mapping.embeds import nodes
from sync.mapping.registry import all_targets, mirrored_models


def check_routers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E034: routers that send the mirror's own tables, or writes and deliveries of mirrored models, elsewhere."""
    return [*_own_tables(), *_mirrored_tables()]


def _own_tables() -> Iterator[CheckMessage]:
    for model in apps.get_app_config("sync").get_models():
        for verb, alias in (("reads", router.db_for_read(model)), ("writes", router.db_for_write(model))):
            if alias != DEFAULT_DB_ALIAS:
                yield Error(
                    f"A router sends {verb} of {model._meta.label}, a table of the mirror, to the database {alias!r}.",
                    "Let the router return None for models whose _meta.app_label is 'sync'.",
                    obj=model,
                    id="sync.E034",
                )


def _mirrored_tables() -> Iterator[CheckMessage]:
    for model in _delivered_models():
        if (alias := router.db_for_write(model)) != DEFAULT_DB_ALIAS:
            yield _elsewhere(model, f"sends writes of {model._meta.label} to the database {alias!r}")
        else:
            with causal.pinned(DEFAULT_DB_ALIAS):
                alias = router.db_for_read(model)
            if alias != DEFAULT_DB_ALIAS:
                yield _elsewhere(model, f"keeps {model._meta.label} out of the database {DEFAULT_DB_ALIAS!r}")


def _elsewhere(model: Any, what: str) -> Error:
    return Error(
        f"A router {what}, but its changes are recorded and delivered in {DEFAULT_DB_ALIAS!r}.",
        "Let db_for_write return None or 'default' for it, and allow_migrate not exclude 'default'. Reads of your own "
        "pages may use a replica.",
        obj=model,
        id="sync.E034",
    )


def _delivered_models() -> list[type[models.Model]]:
    """Mirrored models and those whose rows their documents embed, each once."""
    found: dict[Any, None] = dict.fromkeys(mirrored_models())
    for target in all_targets():
        for node in nodes(target):
            found |= dict.fromkeys([node.model, *([node.through] if node.through is not None else [])])
    return list(found)
