"""The tasks of a schedule's process on its node: those of the fault schedules, and a delivery that is held back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from finance.models import Account
from sync.core import causal
from sync.mapping.fields import new_object_id
from sync.outbox.delivery import deliver_changes
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.chaos import work

LEASE = 20.0  # seconds: no other relay claims the held change


class Worker(work.Worker):
    """As in the fault schedules; `life` also says whether reads are causal."""

    def __init__(self, life: dict[str, Any]) -> None:
        if not life["causal"]:
            causal.wait = lambda using: None
        super().__init__(life)

    def do(self, task: dict[str, Any]) -> None:
        match task["slot"].split()[0]:
            case "actor":
                self.act(**task)
            case "held":
                self.hold(**task)
            case _:
                super().do(task)

    @staticmethod
    def save(key: str, stamp: int) -> None:
        values = {"account_id": stamp, "limit": stamp, "products": [str(stamp)]}
        Account.objects.update_or_create(pk=key, defaults=values)

    def act(self, key: str, stamp: int, deliver: bool, **_: Any) -> None:
        """Save a row, and deliver its change inline or leave it to a relay."""
        settings.SYNC_INLINE = False
        settings.SYNC_LEASE, settings.SYNC_TIMEOUT = LEASE, LEASE / 2  # it has one attempt, however busy the machine is
        self.save(key, stamp)
        if deliver:
            Relay(batch=5).drain()

    def hold(self, key: str, stamp: int, inline: bool, held: str, go: str, **_: Any) -> None:
        """Deliver the row's changes, with a pause between claiming them and reading the row.

        inline: saves the row first, and is its inline delivery.
        """

        def pause() -> None:
            Path(held).touch()
            while not Path(go).exists():
                time.sleep(0.002)

        settings.SYNC_LEASE = settings.SYNC_CONFIRM = LEASE
        settings.SYNC_TIMEOUT = settings.SYNC_INLINE_TIMEOUT = LEASE / 2
        settings.SYNC_INLINE = True
        if inline:
            with transaction.atomic():
                transaction.on_commit(pause)
                self.save(key, stamp)
            return
        token = new_object_id()
        changes = Change.objects.due().claim(5, token)
        pause()
        deliver_changes(changes, token, "default")
