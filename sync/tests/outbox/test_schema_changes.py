"""A changed mapping plans a backfill automatically."""

from typing import Any

import pytest
from django.core.management import call_command
from django.db import models
from pymongo.database import Database

from finance.models import Account
from sync.mapping.fields import DocumentField, ObjectIdField, class_name
from sync.mapping.registry import Target
from sync.outbox import backfill
from sync.outbox.mapping_changes import fingerprint, plan_for_changed_mappings
from sync.outbox.mirrored import Mirror
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.processes import finished, script

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def rows(mongo: Database) -> None:
    plan_for_changed_mappings()
    for number in range(3):
        make(number).save()


def test_an_unchanged_mapping_plans_nothing(rows: None) -> None:
    assert plan_for_changed_mappings() == []
    call_command("migrate", verbosity=0)
    assert backfill.left() == 0


def test_a_migration_plans_a_backfill_for_a_new_version_of_a_mapping(rows: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(Account, "mirror", Mirror("accounts", extra="extra", version=2))
    call_command("migrate", verbosity=0)
    assert backfill.left(models=["finance.account"]) == 1


def test_an_excluded_field_is_removed_from_the_documents(rows: None, mongo: Database, monkeypatch: Any) -> None:
    monkeypatch.setattr(Account, "mirror", Mirror("accounts", exclude=("limit",), extra="extra"))
    assert plan_for_changed_mappings() == ["finance.account"]
    assert plan_for_changed_mappings() == [], "it is planned only once"
    Relay().drain()
    assert not any("limit" in document for document in mongo.accounts.find())
    monkeypatch.undo()
    assert plan_for_changed_mappings() == ["finance.account"]
    Relay().drain()
    assert differences(Account, mongo) == []


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    there = finished(script("sync.tests.support.scripts.print_fingerprint", PYTHONHASHSEED="1"))
    assert there.stdout.strip() == fingerprint(Target(Account))


def test_a_field_class_keeps_its_fingerprint_when_it_moves_within_sync() -> None:
    """Otherwise, an upgrade would deliver every table again."""
    assert class_name(ObjectIdField()) == ("sync.fields", "ObjectIdField")
    assert class_name(DocumentField()) == ("sync.fields", "DocumentField")
    assert class_name(models.TextField()) == ("django.db.models.fields", "TextField")
