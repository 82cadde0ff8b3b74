"""E029 to E033: what composed documents embed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models

from sync.checks.mirrored import manager_problems
from sync.mapping.documents import codec, mirrored_fields
from sync.mapping.embeds import Many, Node, fields, nodes
from sync.mapping.registry import Target, mirrored_models, targets

DEPTH = 3  # embeds inside each other


def check_composed_models(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E029 to E033: each embed of each target."""
    errors: list[CheckMessage] = []
    for model in mirrored_models():
        if model.mirror.embed_in is not None and (unknown := {*model.mirror.embed_in} - {*model.mirror.targets}):
            problem = f"{model._meta.label} has embed_in={sorted(unknown)!r}, which are no targets of it."
            errors.append(Error(problem, "Name some of its `targets`.", obj=model, id="sync.E029"))
        for target in targets(model):
            errors += [error for error in _check(target) if error not in errors]
    return errors


def _check(target: Target) -> Iterator[CheckMessage]:
    try:
        found = nodes(target)
    except ImproperlyConfigured as error:
        yield Error(str(error), "Name an attribute of the model that is a relation.", target.model, "sync.E029")
        return
    if found:
        yield from _names(target, found)
    for node in found:
        yield from _shape(node)
        yield from _captured(node)
        yield from _relation(node)


def _names(target: Target, found: tuple[Node, ...]) -> Iterator[CheckMessage]:
    """Names that an object of a document would have twice, or that MongoDB reads as a path or an operator."""
    own = ["_sync", *(name for name, _ in mirrored_fields(target.model))]
    for above in (None, *found):
        names = own if above is None else ["_id" if each.primary_key else each.attname for each in _known(above)]
        below = [node.embed.name for node in found if node.above is above]
        for name, count in Counter([*names, *below]).items():
            if name not in below:
                continue
            where = f"{target.model._meta.label}, embed {above.path if above else name!r}"
            if count > 1:
                yield Error(
                    f"{where}: the name {name!r} occurs twice.", "Choose another name.", target.model, "sync.E032"
                )
            if not name or "." in name or name.startswith("$"):
                problem = f"{where}: {name!r} cannot be the name of a field."
                yield Error(problem, "Use a name without dots that does not start with $.", target.model, "sync.E032")


def _known(node: Node) -> list[Any]:
    try:
        return fields(node)
    except ImproperlyConfigured:
        return []


def _shape(node: Node) -> Iterator[CheckMessage]:
    """The table, the fields, the order and the limit of an embed, and how deep it is."""
    if node.model._meta.parents:
        problem = f"{node.path} embeds {node.model._meta.label}, whose rows are in several tables."
        yield Error(problem, "Embed a model with one table.", node.model, "sync.E029")
    try:
        chosen = fields(node)
    except ImproperlyConfigured as error:
        yield Error(str(error), "Name fields of the embedded model.", node.model, "sync.E029")
        return
    for field in chosen:
        if codec(field) is None:
            hint = "Define to_bson() and from_bson() on the field, or leave it out of `fields`."
            yield Error(f"{node.model._meta.label}.{field.name} has no BSON type.", hint, node.model, "sync.E014")
    for name in getattr(node.embed, "order_by", ()):
        try:
            node.model._meta.get_field(name.removeprefix("-"))
        except FieldDoesNotExist as error:
            yield Error(f"{error}, which order_by names.", "Name fields of it.", node.model, "sync.E029")
    if isinstance(node.embed, Many) and node.embed.limit < 1:
        yield Error(f"{node.path}: limit must be at least 1.", obj=node.model, id="sync.E029")
    above = [each.parent for each in (node, *_ancestors(node))]
    if node.depth > DEPTH:
        yield Error(f"{node.path} is deeper than {DEPTH} embeds.", "Embed less.", node.model, "sync.E033")
    elif node.model in above:
        yield Error(
            f"{node.path} embeds {node.model._meta.label} in itself.", "Embed its key.", node.model, "sync.E033"
        )


def _ancestors(node: Node) -> Iterator[Node]:
    while node.above:
        node = node.above
        yield node


def _captured(node: Node) -> Iterator[CheckMessage]:
    """Tables whose writes record nothing, so that documents would become stale."""
    tables = [node.model]
    if node.through is not None and not node.through._meta.auto_created:
        tables.append(node.through)
    for table in tables:
        if hasattr(table, "captured"):
            yield from manager_problems(table)
        else:
            problem = f"{table._meta.label} is embedded at {node.path}, and its writes are not captured."
            yield Error(problem, "Make it inherit from Embedded or MirroredModel.", table, "sync.E030")


def _relation(node: Node) -> Iterator[CheckMessage]:
    """Foreign keys that delivery and fan-outs look rows up by."""
    for key in (node.key, node.pointer, node.source, node.destination):
        if key is None:
            continue
        if key.target_field is not key.target_field.model._meta.pk:
            problem = f"{key} refers to {key.target_field}, not to a primary key, and so cannot be embedded."
            yield Error(problem, "Refer to the primary key.", key.model, "sync.E031")
        if not _has_index(key):
            problem = f"{key} has no index, and each delivery of a document that embeds it would read the whole table."
            yield Error(problem, "Give it db_index=True, or an index that begins with it.", key.model, "sync.E031")


def _has_index(key: Any) -> bool:
    options = key.model._meta
    firsts = [index.fields[0] for index in options.indexes if index.fields]
    firsts += [
        each.fields[0] for each in options.constraints if isinstance(each, models.UniqueConstraint) and each.fields
    ]
    firsts += [names[0] for names in options.unique_together]
    return key.db_index or key.unique or key.name in firsts or f"-{key.name}" in firsts
