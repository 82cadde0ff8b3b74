"""Rows for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.outbox.models import Change
from sync.tests.support.hurry import confirm


def make(number: int, **values: Any) -> Account:
    return Account(account_id=number, limit=values.pop("limit", 1000), products=values.pop("products", ["Brokerage"]))


def leave_pending(age: float, **values: Any) -> None:
    """Save an account, and a change of it that was recorded `age` seconds ago."""
    make(1).save()
    confirm()
    Change.objects.create(
        model="finance.account", key=Account.objects.get().pk, due_at=DatabaseNow(),
        recorded_at=DatabaseNow() - timedelta(seconds=age), **values,
    )  # fmt: skip
