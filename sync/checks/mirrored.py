"""System checks of mirrored models: reject a misconfiguration that would lose changes before any process starts."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import DatabaseError, connections, models
from django.utils.translation import ngettext
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sync.core import conf, mysql
from sync.mapping.documents import codec, mirrored_fields
from sync.mapping.fields import DocumentField, ObjectIdField
from sync.mapping.kinds import KINDS, kind_of
from sync.mapping.registry import all_targets, mirrored_models, targets
from sync.mongodb.client import addresses, file_problem, setting, without_files
from sync.mongodb.errors import without_secrets
from sync.outbox.capture import MirroredQuerySet
from sync.outbox.mapping_changes import clashes, is_changed
from sync.outbox.mirrored import Mirror, MirroredModel
from sync.outbox.models import Change
from sync.workers.models import ModelState

DECIMAL128_DIGITS = 34
LONGEST_ALIAS = Change._meta.get_field("queue").max_length or 0


def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001 to E003, E018, E028, W001, W002: addresses, certificate files, target settings, times, isolation level."""
    errors: list[CheckMessage] = []
    for alias, address in addresses().items():
        if problem := _address_problem(address):
            hint = "mongodb://host:27017/analytics?replicaSet=rs0"
            errors.append(Error(f"{setting(alias)} {problem}", hint=hint, id="sync.E001"))
        elif problem := file_problem(address):
            hint = "Provide the file. Until then, changes wait in MySQL, and the relay delivers them afterwards."
            errors.append(Warning(f"MongoDB cannot be reached: in {setting(alias)}, {problem}.", hint, id="sync.W001"))
    for alias in conf.TARGETS:
        if not 0 < len(alias) <= LONGEST_ALIAS:
            problem = f"An alias in SYNC_TARGETS must have 1 to {LONGEST_ALIAS} characters; {alias!r} has {len(alias)}."
            errors.append(Error(problem, id="sync.E001"))
    for alias in sorted(KINDS.keys() & conf.TARGETS.keys()):
        problem = f"SYNC_TARGETS uses the alias {alias!r}, which is reserved for a kind of target."
        errors.append(Error(problem, "Choose another alias for this database.", id="sync.E001"))
    for alias in KINDS:
        if mine := [target for target in all_targets() if target.alias == alias]:
            errors += kind_of(alias).check(mine)
    if not (0 < conf.INLINE_TIMEOUT < conf.LEASE and 0 < conf.TIMEOUT < conf.LEASE):
        hint = "A delivery must finish or time out before another relay may claim its changes."
        errors.append(
            Error("SYNC_TIMEOUT and SYNC_INLINE_TIMEOUT must be shorter than SYNC_LEASE.", hint, id="sync.E002")
        )
    if not conf.INLINE_TIMEOUT < conf.CONFIRM:
        hint = "A relay confirms a change only after its inline delivery has finished or timed out."
        errors.append(Error("SYNC_CONFIRM must be longer than SYNC_INLINE_TIMEOUT.", hint, id="sync.E002"))
    if conf.SETTLE - conf.LEASE <= conf.TIMEOUT:
        hint = (
            "A delete is delivered again once no earlier insert can still arrive. Such an insert may start one "
            "SYNC_LEASE later and take SYNC_TIMEOUT. The remaining time covers clock differences between mongos."
        )
        problem = "SYNC_SETTLE must be longer than SYNC_LEASE and SYNC_TIMEOUT together."
        errors.append(Error(problem, hint, id="sync.E002"))
    if min(conf.INLINE_MAX_KEYS, conf.BATCH, conf.MAX_ATTEMPTS, conf.KAFKA_PARTITIONS) < 1:
        errors.append(
            Error(
                "SYNC_INLINE_MAX_KEYS, SYNC_BATCH, SYNC_MAX_ATTEMPTS and SYNC_KAFKA_PARTITIONS must be at least 1.",
                id="sync.E002",
            )
        )
    for alias, database in settings.DATABASES.items():
        if problem := mysql.file_problem(database.get("OPTIONS", {})):
            hint = "Provide the file. Until then, nothing can be read from or saved to this database."
            errors.append(
                Warning(f"The database {alias!r} cannot be connected to with TLS: {problem}.", hint, id="sync.W002")
            )
        level = database.get("OPTIONS", {}).get("isolation_level", "read committed")
        if database["ENGINE"].endswith("mysql") and (level or "").lower() != "read committed":
            hint = "Set OPTIONS['isolation_level'] = 'read committed': a delivery must read the latest committed row."
            errors.append(Error(f"The database {alias!r} does not use READ COMMITTED.", hint, id="sync.E003"))
    return errors


def _address_problem(address: str) -> str:
    """Return what is wrong with an address, or "". Queries neither DNS nor the server, and reads no file it names."""
    if not address:
        return "names no database."
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client: MongoClient[Any] = MongoClient(without_files(address), connect=False)
        # The driver only warns about an option that it does not know or cannot parse, and then ignores it.
        for warning in caught:
            if warning.category is UserWarning and "compression" not in str(warning.message):
                return f"cannot be read: {warning.message}"
        client.get_default_database()
    except (PyMongoError, ValueError, TypeError) as error:
        if "No default database" in str(error):
            return "names no database."
        return f"cannot be read: {without_secrets(str(error))}"
    return ""


def check_models(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E010 to E017: each mirrored model and its targets; no two models share a collection."""
    errors: list[CheckMessage] = []
    collections: dict[tuple[str, str], list[str]] = defaultdict(list)
    for model in apps.get_models():
        if issubclass(model, MirroredModel) and not isinstance(getattr(model, "mirror", None), Mirror):
            errors.append(Error(f"{model._meta.label} does not declare where it is mirrored.",
                                'Declare mirror = Mirror("collection").', obj=model, id="sync.E010"))  # fmt: skip
    for model in mirrored_models():
        for target in targets(model):
            collections[target.queue, target.collection].append(model._meta.label)
            if target.alias not in {"", *KINDS, *conf.TARGETS}:
                problem = f"{model._meta.label} has the target {target.name!r}; SYNC_TARGETS has no {target.alias!r}."
                hint = f"Add {target.alias!r} with the address of its database to SYNC_TARGETS."
                errors.append(Error(problem, hint, obj=model, id="sync.E017"))
        errors += [*manager_problems(model), *_options(model), *_fields(model)]
    for (_, collection), labels in collections.items():
        if len(labels) > 1:
            errors.append(Error(f"The collection {collection!r} mirrors {' and '.join(labels)}.",
                                "Give each model its own collection.", id="sync.E011"))  # fmt: skip
    return errors


def check_database(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E019, E025 and W026: problems that only the tables show. Runs with `migrate` and `check --database`."""
    return [
        error
        for alias in databases or ()
        for check in (_foreign_keys, _text_keys, _two_sources)
        for error in check(connections[alias])
    ]


def _two_sources(connection: Any) -> Iterator[CheckMessage]:
    """Warn when a field of a document has two sources: a column, and an older value in the `extra` field.

    Checks only models whose mapping has changed, because the check reads the table.
    """
    if ModelState._meta.db_table not in connection.introspection.table_names():
        return
    for model in mirrored_models():
        if not (model.mirror.extra and any(is_changed(target, connection.alias) for target in targets(model))):
            continue
        try:
            found = clashes(model, connection.alias)
        except DatabaseError:  # the table does not match the model yet
            continue
        for name, count in found.items():
            rows = ngettext("%d row", "%d rows", count) % count
            problem = f"{model._meta.label}.{name} is a field, and {model.mirror.extra} holds a {name} in {rows}."
            hint = (
                f"Add sync.operations.MoveFromExtra({model._meta.model_name!r}, {name!r}) to the migration that adds "
                "the field. Until then, a row with two different values is not delivered and its document is outdated."
            )
            yield Warning(problem, hint, obj=model, id="sync.W026")


def _foreign_keys(connection: Any) -> Iterator[CheckMessage]:
    """Reject foreign keys that change rows of a captured table, because neither the ORM nor the binary log sees that.

    Django creates no such key; a table that was altered by hand may have one.
    """
    tables = {model._meta.db_table for model in apps.get_models() if hasattr(model, "captured")}
    hint = "Change it to ON DELETE NO ACTION ON UPDATE NO ACTION: Django deletes dependent rows itself."
    for table, other, action in _foreign_key_actions(connection, tables):
        problem = f"The foreign key from {table} to {other} has {action}, so MySQL changes rows without capture."
        yield Error(problem, hint, id="sync.E019")


def _text_keys(connection: Any) -> Iterator[CheckMessage]:
    """Reject text keys that MySQL treats as the same key and MongoDB as two: "a", "A" and "a " in most collations.

    A save under another spelling would change the row but never its document.
    """
    keys = {(model._meta.db_table, model._meta.pk.column): model for model in mirrored_models() if _is_text_key(model)}
    if connection.vendor != "mysql" or not keys:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns"
            " WHERE table_schema = DATABASE() AND collation_name IS NOT NULL"
        )
        collations = {(table, column): collation for table, column, collation in cursor.fetchall()}
    exact = "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"
    for place, model in keys.items():
        collation = collations.get(place, exact)
        if not (collation.endswith("_bin") and ("_nopad_" in collation or "_0900_" in collation)):
            problem = f"{model._meta.label}'s key has the collation {collation}, which treats different texts as equal."
            yield Error(problem, f"Set db_collation={exact!r} on the field.", obj=model, id="sync.E025")


def _is_text_key(model: type[MirroredModel]) -> bool:
    """Return whether the model's key is a text. An ObjectIdField is not: it has only one spelling."""
    key: Any = model._meta.pk
    while key.is_relation:
        key = key.target_field
    return isinstance(key, (models.CharField, models.TextField)) and not isinstance(key, ObjectIdField)


def _foreign_key_actions(connection: Any, tables: set[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (table, referenced table, action such as `ON DELETE CASCADE`) for each action that changes `tables`."""
    keys: list[tuple[str, str, str, str]] = []
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute(
                "SELECT table_name, referenced_table_name, delete_rule, update_rule"
                " FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE()"
                " ORDER BY table_name, constraint_name"
            )
            keys = [key for key in cursor.fetchall() if key[0] in tables]
        elif connection.vendor == "sqlite":
            for table in sorted(tables):
                cursor.execute(f"PRAGMA foreign_key_list({connection.ops.quote_name(table)})")
                keys += [(table, row[2], row[6], row[5]) for row in cursor.fetchall()]
    for table, other, on_delete, on_update in keys:
        for event, rule in (("DELETE", on_delete), ("UPDATE", on_update)):
            if rule not in ("NO ACTION", "RESTRICT"):
                yield table, other, f"ON {event} {rule}"


def manager_problems(model: Any) -> list[CheckMessage]:
    """E012: managers of a captured model that write without recording changes."""
    managers = {manager.name: manager for manager in [*model._meta.managers, model._base_manager]}
    return [
        Error(
            f"{model._meta.label}.{name} writes without recording changes.",
            "Create it with MirroredManager.from_queryset(...), and inherit Meta from MirroredModel.Meta.",
            obj=model,
            id="sync.E012",
        )
        for name, manager in managers.items()
        if not isinstance(manager.get_queryset(), MirroredQuerySet)
    ]


def _options(model: type[MirroredModel]) -> list[CheckMessage]:
    options = model.mirror
    fields = {field.name: field for field in model._meta.concrete_fields}
    errors: list[CheckMessage] = [
        Error(f"{model._meta.label} has no field {name!r} to exclude.", obj=model, id="sync.E013")
        for name in options.exclude
        if name not in fields
    ]
    if options.extra and not isinstance(fields.get(options.extra), DocumentField):
        errors.append(Error(f"{model._meta.label}.{options.extra} must be a DocumentField.", obj=model, id="sync.E013"))
    return errors


def _fields(model: type[MirroredModel]) -> list[CheckMessage]:
    errors: list[CheckMessage] = [
        Error(
            f"{model._meta.label} inherits from the table of {parent._meta.label}, which is not mirrored.",
            f"Make {parent._meta.label} inherit from MirroredModel, or make it abstract.",
            model,
            "sync.E016",
        )
        for parent in model._meta.all_parents
        if not hasattr(parent, "mirror")
    ]
    for name, field in mirrored_fields(model):
        if codec(field) is None:
            hint = "Define to_bson() and from_bson() on the field, or exclude it."
            errors.append(Error(f"{model._meta.label}.{field.name} has no BSON type.", hint, model, "sync.E014"))
        if isinstance(field, models.DecimalField) and (field.max_digits or 0) > DECIMAL128_DIGITS:
            problem = f"{model._meta.label}.{field.name} has {field.max_digits} digits; Decimal128 holds at most 34."
            errors.append(Error(problem, "Use fewer digits, or a CharField.", model, "sync.E015"))
        if name == "_sync":
            problem = f"{model._meta.label} has a field named _sync, which is reserved for the mirror."
            errors.append(Error(problem, "Rename or exclude it.", obj=model, id="sync.E013"))
    return errors
