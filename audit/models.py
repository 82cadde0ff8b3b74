"""The audit log: who did what to which object and when, with the values before and after.

An entry names users and objects by text and by key, not by reference: it outlives both. No permission allows adding,
changing or deleting one; `audit_prune` removes old ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

UNREADABLE = "(cannot be read)"  # in place of a field's name


class Act(models.TextChoices):
    """The acts on rows. Other apps add theirs with `register_acts`."""

    CREATE = "create", _("Created")
    CHANGE = "change", _("Changed")
    DELETE = "delete", _("Deleted")
    APPROVE = "approve", _("Approved")
    DECLINE = "decline", _("Declined")
    PRUNE = "prune", _("Pruned")


_registered: dict[str, StrOrPromise] = {}


def register_acts(acts: Mapping[str, StrOrPromise]) -> None:
    """Adds these acts, each with its words for pages. Call it from an app config's `ready`."""
    _registered.update(acts)


def act_choices() -> list[tuple[str, StrOrPromise]]:
    return [*Act.choices, *_registered.items()]


class LogDecoder(json.JSONDecoder):
    """An entry that SQL has damaged does not stop the log: its text is shown unchanged."""

    def decode(self, s: str, *args: Any) -> Any:
        try:
            fields = super().decode(s, *args)
            json.dumps(fields, ensure_ascii=False).encode()  # half of a surrogate pair is not valid text
        except (ValueError, RecursionError):
            fields = None
        return fields if isinstance(fields, dict) else {UNREADABLE: s}


JSON: dict[str, Any] = {"encoder": DjangoJSONEncoder, "decoder": LogDecoder}


class Entry(models.Model):
    """One act. Never changed; written in the transaction of the act."""

    at = models.DateTimeField(_("when"), default=timezone.now, db_index=True)
    who = models.CharField(_("who"), max_length=150, blank=True, help_text=_("The username then; empty for a command."))
    who_id = models.CharField(max_length=40, blank=True, help_text=_("The user's key."))
    act = models.CharField(_("act"), max_length=20, choices=act_choices, db_index=True)
    model = models.CharField(_("kind of object"), max_length=200, blank=True, help_text=_("Such as finance.account."))
    key = models.CharField(_("key"), max_length=255, blank=True)
    text = models.CharField(_("object"), max_length=255, blank=True, help_text=_("The object's name then."))
    before = models.JSONField(_("before"), default=dict, help_text=_("Only the changed fields."), **JSON)
    after = models.JSONField(_("after"), default=dict, help_text=_("The same fields."), **JSON)
    address = models.GenericIPAddressField(_("address"), null=True)

    class Meta:
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["who"], name="audit_entry_who"),
            models.Index(fields=["model", "key"], name="audit_entry_object"),
            models.Index(fields=["key"], name="audit_entry_key"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.who or '-'}: {self.get_act_display()} {self.text or self.key}"

    @property
    def fields(self) -> list[tuple[str, object, object]]:
        """(name, before, after) of each field that changed; None if it did not exist before, or does not any more."""
        return [(name, self.before.get(name), self.after.get(name)) for name in sorted({**self.before, **self.after})]
