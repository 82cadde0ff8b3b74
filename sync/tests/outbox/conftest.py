"""Fixtures for the tests of the outbox."""

from __future__ import annotations

import pytest
from pymongo.database import Database

from finance.models import Account
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm


@pytest.fixture
def accounts(mongo: Database) -> list[Account]:
    """Three accounts, in both databases."""
    accounts = [make(number) for number in range(3)]
    for account in accounts:
        account.save()
    assert mongo.accounts.count_documents({}) == 3
    confirm()
    return accounts
