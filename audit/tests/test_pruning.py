"""`audit_prune`: what is older than AUDIT_DAYS goes, the rest stays, and that it went is kept."""

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


def test_the_old_ones_are_removed_and_that_is_kept() -> None:
    assert prune() == "3 entries older than 730 days are removed.\n"
    assert Entry.objects.filter(who="ada").count() == 3
    assert Entry.objects.get(act=Act.PRUNE).after == {"entries": 3, "older_than_days": 730}
    assert prune(days=730) == "0 entries older than 730 days are removed.\n"
    assert Entry.objects.filter(act=Act.PRUNE).count() == 1


def test_a_dry_run_only_counts() -> None:
    assert prune(days=30, dry_run=True) == "4 entries older than 30 days are to be removed.\n"
    assert Entry.objects.count() == 6


def test_zero_keeps_all(settings: Any) -> None:
    assert prune(days=0) == "All entries are kept.\n"
    assert Entry.objects.count() == 6


def test_wrong_use_is_told() -> None:
    with pytest.raises(CommandError, match="from 0") as error:
        prune(days=-1)
    assert error.value.returncode == 2
