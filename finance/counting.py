"""About how many rows a search finds, without a scan of a large table."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from finance.paging import Page
from sync.core.humanize import grouped

COUNTED = 1000  # rows that are counted one by one
# The server's own statistics. SQLite numbers its rows, and the highest number is close to how many there are.
ESTIMATES = {
    "mysql": """SELECT table_rows FROM information_schema.tables
                WHERE table_schema = DATABASE() AND table_name = '{table}'""",
    "sqlite": "SELECT MAX(rowid) FROM {table}",
}


def count_of(page: Page, records: QuerySet[Any], *, searched: bool) -> str:
    """How many rows there are, in words. records: what the search finds; the whole table unless `searched`."""
    if not page.previous and not page.next:
        return _exactly(len(page.records))
    count = records.order_by()[: COUNTED + 1].count()
    if count <= COUNTED:
        return _exactly(count)
    estimate = 0 if searched else estimated(records.model._meta.db_table)
    if estimate <= COUNTED:
        return _("More than %(count)s rows") % {"count": grouped(COUNTED)}
    return _("About %(count)s rows") % {"count": grouped(float(f"{estimate:.2g}"))}


def estimated(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(ESTIMATES[connection.vendor].format(table=table))
        [count] = cursor.fetchone() or [0]
    return count or 0


def _exactly(count: int) -> str:
    return ngettext("%(number)s row", "%(number)s rows", count) % {"number": grouped(count)}
