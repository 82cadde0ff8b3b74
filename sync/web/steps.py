"""What an operator can do next about the mirror's state: buttons, and commands where the console cannot act."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from django.urls import reverse
from django.utils.translation import gettext as _

from sync.monitoring.status import Status

SHOWN = 3  # steps; the cards and tables below have a button for each model and route
RELAY = ("manage.py sync relay",)
COMMANDS = {"stalled": (*RELAY, "manage.py sync publish"), "lagging": RELAY}  # by state: processes run elsewhere


class Step(NamedTuple):
    """A button: a link to a page, or with `acts` a form that acts at once."""

    title: str
    url: str
    acts: bool = False


def steps(now: Status) -> list[Step]:
    """Return the first steps for the state."""
    found = {"failing": _failing, "mismatched": _mismatched, "paused": _paused}.get(now.word)
    return list(islice(found(now), SHOWN)) if found else []


def _failing(now: Status) -> Iterator[Step]:
    yield Step(_("Retry failed changes…"), reverse("sync:changes"))


def _mismatched(now: Status) -> Iterator[Step]:
    for model in now.models:
        if model.mismatches and model.rows is not None:
            yield Step(_("Repair %s…") % model.name, reverse("sync:repair", args=[model.model]))


def _paused(now: Status) -> Iterator[Step]:
    for model in now.models:
        if model.paused and (model.pending or model.backfill or model.fan_outs) and model.rows is not None:
            yield Step(_("Resume %s") % model.name, reverse("sync:act", args=[model.model, "resume"]), acts=True)
    for route in now.routes:
        if route.paused:
            yield Step(_("Resume %s") % route.name, reverse("sync:route_act", args=[route.name, "resume"]), acts=True)
