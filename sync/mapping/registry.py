"""Which models are mirrored, to which targets, and their names on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.apps import apps
from django.core.management.base import CommandError
from django.db.models import Model, QuerySet

from sync.mapping.kinds import TargetKind, kind_of
from sync.mapping.reading import exact

if TYPE_CHECKING:
    from sync.outbox.mirrored import MirroredModel


class Target(NamedTuple):
    """One place that the rows of a model are delivered to. Each target is delivered, tracked and verified separately.

    name: one of Mirror's `targets`: empty for the mirror's own collection, otherwise `[alias:]collection`.
    """

    model: type[MirroredModel]
    name: str = ""

    @property
    def label(self) -> str:
        """Its name in changes: `finance.account`, or `finance.account@eu:accounts`."""
        return label(self.model) + (f"@{self.name}" if self.name else "")

    @property
    def alias(self) -> str:
        """The alias of its server or kind; empty for MONGODB_URI's."""
        alias, colon, _ = self.name.partition(":")
        return alias if colon else ""

    @property
    def kind(self) -> TargetKind:
        """Its kind: MongoDB, Kafka or file."""
        return kind_of(self.alias)

    @property
    def queue(self) -> str:
        """The queue of its changes. A server that responds slowly delays only its own queue; empty is MONGODB_URI's."""
        return self.kind.queue(self.name) if self.alias else ""

    @property
    def collection(self) -> str:
        """The name of the collection, Kafka topic or file."""
        return self.name.rpartition(":")[2] or self.model.mirror.collection


def mirrored_models() -> list[type[MirroredModel]]:
    """Every mirrored model with a table of its own."""
    models: list[Any] = apps.get_models()
    return [model for model in models if hasattr(model, "mirror") and not model._meta.proxy]


def targets(model: type[MirroredModel]) -> list[Target]:
    """The targets of one model."""
    return [Target(model, name) for name in model.mirror.targets]


def all_targets() -> list[Target]:
    """The targets of all mirrored models."""
    return [target for model in mirrored_models() for target in targets(model)]


def queues() -> list[str]:
    """The queues of relays, MONGODB_URI's first."""
    return ["", *sorted({target.queue for target in all_targets() if target.kind.worker == "relay"} - {""})]


def published() -> list[Target]:
    """The targets that a publisher writes, of all models."""
    return [target for target in all_targets() if target.kind.worker == "publisher"]


def find_target(label: str) -> Target:
    """The target with this label. Raises LookupError if there is none, or no longer one."""
    name, _, place = label.partition("@")
    model: Any = apps.get_model(name)
    if place not in model.mirror.targets:
        raise LookupError(f"{name} has no target {place}")
    return Target(model, place)


def all_rows(model: type[Model], using: str) -> QuerySet[Any]:
    """Every row of the table, whatever the model's managers omit, read exactly."""
    return exact(QuerySet(model, using=using))


def label(model: Any) -> str:
    """The model's name in changes: `finance.account`."""
    return model._meta.concrete_model._meta.label_lower


def chosen_targets(names: list[str]) -> list[Target]:
    """The targets named on a command line: `account` or `finance.account` for all targets of a model, or a target's
    label.

    All targets if none is named. Raises CommandError for an unknown name.
    """
    if not names:
        return all_targets()
    known: dict[str, list[Target]] = {}
    for target in all_targets():
        for name in (label(target.model), str(target.model._meta.model_name)):
            known.setdefault(name, []).append(target)
            if target.name:
                known[f"{name}@{target.name}"] = [target]
    chosen: dict[Target, None] = {}
    for name in names:
        # After the @ is a collection's name, which is case-sensitive.
        model, at, place = name.partition("@")
        if not (found := known.get(model.lower() + at + place)):
            raise CommandError(
                f"{name} is not a mirrored model. There are: {', '.join(target.label for target in all_targets())}.",
                returncode=2,
            )
        chosen |= dict.fromkeys(found)
    return list(chosen)
