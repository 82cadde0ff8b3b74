"""System checks of pulled models: E020 to E024, W027."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

from sync.mapping.documents import codec, mirrored_fields
from sync.mapping.fields import DocumentField
from sync.mapping.registry import all_targets
from sync.replication.pulled import PulledModel, PulledQuerySet, Source, pulled_models


def check_pulled_models(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E020 to E024: each pulled model; no collection is both pulled and mirrored."""
    errors: list[CheckMessage] = []
    mirrored = {target.collection for target in all_targets() if not target.queue}
    for model in pulled_models():
        if not isinstance(getattr(model, "source", None), Source):
            hint = 'Declare source = Source("collection").'
            errors.append(Error(f"{model._meta.label} does not declare its source.", hint, model, "sync.E020"))
            continue
        if hasattr(model, "mirror") or model.source.collection in mirrored:
            problem = (
                f"The collection {model.source.collection!r} is both pulled, by {model._meta.label}, and mirrored."
            )
            hint = "Data must flow in one direction only. Use another collection for one of the two models."
            errors.append(Error(problem, hint, model, "sync.E021"))
        errors += [*_managers(model), *_fields(model)]
    return errors


def _managers(model: type[PulledModel]) -> list[CheckMessage]:
    managers = {manager.name: manager for manager in [*model._meta.managers, model._base_manager]}
    hint = "Create it with PulledManager.from_queryset(...), and inherit Meta from PulledModel.Meta."
    return [
        Error(f"{model._meta.label}.{name} could change rows that are pulled from MongoDB.", hint, model, "sync.E022")
        for name, manager in managers.items()
        if not isinstance(manager.get_queryset(), PulledQuerySet)
    ]


def _fields(model: type[PulledModel]) -> list[CheckMessage]:
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
        problem = f"{model._meta.label} inherits from another table, but a document becomes one row of one table."
        errors.append(Error(problem, "Inherit from abstract models only.", model, "sync.E024"))
    for _, field in mirrored_fields(model):
        if codec(field) is None:
            hint = "Define to_bson() and from_bson() on the field, or exclude it."
            problem = f"{model._meta.label}.{field.name} has no BSON type."
            errors.append(Error(problem, hint, model, "sync.E024"))
    return errors


def check_pulled_tables(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """W027: foreign keys, triggers, events and columns that change pulled rows although no document has changed.

    Runs with `migrate` and `check --database`.
    """
    tables = {model._meta.db_table for model in pulled_models()}
    hint = "Remove it, or make sure that it does not change these rows: each row must match its document."
    return [
        Warning(f"{what} and may change rows that come from MongoDB.", hint, id="sync.W027")
        for alias in databases or ()
        for what in _acting(connections[alias], tables)
    ]


class _Catalogue(NamedTuple):
    """The objects through which a database changes rows itself, read from its catalogue."""

    keys: list[Any]  # name, table, table referred to, rules of delete and update
    triggers: list[Any]  # name, table, statement
    events: list[Any]  # name, statement
    columns: list[Any]  # table, name, extra


def _mysql(rows: Callable[[str], list[Any]]) -> _Catalogue:
    return _Catalogue(
        rows(
            "SELECT constraint_name, table_name, referenced_table_name, delete_rule, update_rule"
            " FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE()"
            " ORDER BY constraint_name"
        ),
        rows(
            "SELECT trigger_name, event_object_table, action_statement FROM information_schema.triggers"
            " WHERE trigger_schema = DATABASE() ORDER BY trigger_name"
        ),
        rows(
            "SELECT event_name, event_definition FROM information_schema.events"
            " WHERE event_schema = DATABASE() ORDER BY event_name"
        ),
        rows("SELECT table_name, column_name, extra FROM information_schema.columns WHERE table_schema = DATABASE()"),
    )


def _sqlite(rows: Callable[[str], list[Any]], quote: Callable[[str], str]) -> _Catalogue:
    triggers = rows("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
    keys = []
    for [table] in rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"):
        found = rows(f"PRAGMA foreign_key_list({quote(table)})")
        keys += [(row[3], table, row[2], row[6], row[5]) for row in found]
    return _Catalogue(keys, triggers, [], [])


def _acting(connection: Any, tables: set[str]) -> Iterator[str]:
    """Yield the first half of a sentence for each object that may change rows of these tables."""
    with connection.cursor() as cursor:

        def rows(query: str) -> list[Any]:
            cursor.execute(query)
            return list(cursor.fetchall())

        if connection.vendor == "mysql":
            found = _mysql(rows)
        elif connection.vendor == "sqlite":
            found = _sqlite(rows, connection.ops.quote_name)
        else:
            return
    for name, table, other, *rules in found.keys:
        # Keys that refer to a pulled table count too: to exchange unique values, a pull deletes and recreates rows.
        if {table, other} & tables and not {*rules} <= {"NO ACTION", "RESTRICT"}:
            yield f"The foreign key {name} from {table} to {other} is ON DELETE {rules[0]} ON UPDATE {rules[1]}"
    for name, table, statement in found.triggers:
        if table in tables or _names(statement, tables):
            yield f"The trigger {name} of {table} runs in the database"
    for name, statement in found.events:
        if _names(statement, tables):
            yield f"The event {name} runs in the database"
    for table, column, extra in found.columns:
        if table in tables and "on update" in (extra or "").lower():
            yield f"The column {table}.{column} is ON UPDATE CURRENT_TIMESTAMP"


def _names(statement: str, tables: set[str]) -> bool:
    return bool(tables & {*re.findall(r"\w+", statement)})
