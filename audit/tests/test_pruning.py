"""`audit_prune` deletes entries older than AUDIT_DAYS, keeps the rest and records the deletion."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.models import Act, Entry

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.management.commands.audit_prune.CHUNK", 2)
    for days in (1, 29, 31, 731, 800, 900):
        Entry.objects.create(who="ada", act=Act.CHANGE, at=timezone.now() - timedelta(days=days))


def prune(**options: Any) -> str:
    out = io.StringIO()
    call_command("audit_prune", stdout=out, **options)
    return out.getvalue()


def test_old_entries_are_deleted_and_the_deletion_is_recorded() -> None:
    assert prune() == "3 entries older than 730 days are removed.\n"
    assert Entry.objects.filter(who="ada").count() == 3
    assert Entry.objects.get(act=Act.PRUNE).after == {"entries": 3, "older_than_days": 730}
    assert prune(days=730) == "0 entries older than 730 days are removed.\n"
    assert Entry.objects.filter(act=Act.PRUNE).count() == 1


def test_a_dry_run_only_counts() -> None:
    assert prune(days=30, dry_run=True) == "4 entries older than 30 days are to be removed.\n"
    assert Entry.objects.count() == 6


def test_zero_days_keeps_all_entries(settings: Any) -> None:
    assert prune(days=0) == "All entries are kept.\n"
    assert Entry.objects.count() == 6


def test_a_negative_number_of_days_is_refused() -> None:
    with pytest.raises(CommandError, match="from 0") as error:
        prune(days=-1)
    assert error.value.returncode == 2
