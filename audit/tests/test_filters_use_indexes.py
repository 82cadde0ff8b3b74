"""Each filter of the audit log reads only the rows it shows, not the whole table."""

from __future__ import annotations

import datetime
import os
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Entry

pytestmark = [pytest.mark.django_db, pytest.mark.engine]

MANY = int(os.environ.get("AUDIT_ROWS", "20000"))
DAY = datetime.timedelta(days=1)
NOW = timezone.now()
SEARCHES: list[dict[str, Any]] = [
    {},
    {"since": NOW.date() - 2 * DAY},
    {"until": NOW.date() - 300 * DAY},
    {"since": NOW.date() - 200 * DAY, "until": NOW.date() - 199 * DAY},
    {"key": "key-17"},
    {"key": "nothing"},
    {"who": "rare"},
    {"who": "nobody"},
    {"model": "rare.thing"},
    {"model": "finance.customer"},
    {"act": "prune"},
    {"act": "stop"},
    {"who": "often", "key": "key-17"},
]


@pytest.fixture(scope="module")
def many(django_db_setup: Any, django_db_blocker: Any) -> Any:
    """Entries of a year. The rare ones are the oldest, so a scan from the newest would reach them last."""
    with django_db_blocker.unblock():
        Entry.objects.bulk_create(
            [
                Entry(
                    at=NOW - datetime.timedelta(minutes=26 * (MANY - number)), who="rare" if number < 10 else "often",
                    act="prune" if number < 10 else "change", model="rare.thing" if number < 10 else "finance.account",
                    key=f"key-{number // 10}", text="x",
                )
                for number in range(MANY)
            ],
            batch_size=2000,
        )  # fmt: skip
        if connection.vendor == "mysql":
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE TABLE audit_entry")
                cursor.fetchall()
        yield
        Entry.objects.all().delete()


def rows_read() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _name, count in cursor.fetchall())


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_a_search_reads_few_rows(many: None, search: dict[str, Any]) -> None:
    if connection.vendor != "mysql":
        pytest.skip("only MySQL and MariaDB count the rows read")
    browser = Client()
    browser.force_login(User.objects.create_user("mary", role="senior_management"))
    browser.get("/audit/")
    before = rows_read()
    answer = browser.get("/audit/", search)
    assert answer.status_code == 200
    read = rows_read() - before
    print(f"{MANY} entries, {search}: {read} rows read")
    assert read < MANY / 20


MOMENTS = [
    "2026-02-28 23:59:59.999999", "2026-03-01 00:00:00", "2026-03-01 12:00:00", "2026-03-01 23:59:59.999999",
    "2026-03-02 00:00:00",
]  # fmt: skip


@pytest.mark.parametrize(
    ("since", "until", "found"), [("2026-03-01", "2026-03-01", 3), ("2026-03-02", "", 1), ("", "2026-02-28", 1)]
)
def test_a_date_filter_covers_the_whole_day(db: None, since: str, until: str, found: int) -> None:
    for text in MOMENTS:
        moment = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
        Entry.objects.create(at=moment, act="stop", key="day")
    browser = Client()
    browser.force_login(User.objects.create_user("mary", role="senior_management"))
    answer: Any = browser.get("/audit/", {"since": since, "until": until, "key": "day"})
    assert len(answer.context["entries"]) == found
