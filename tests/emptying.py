"""Empties the database after a test that commits: only the tables that have rows, and no permissions made again.

Django's own way truncates every table and runs the `post_migrate` receivers, which took more than half of the tests'
time on MariaDB.
"""

from collections.abc import Iterable
from typing import Any

from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, connections
from django.test import TransactionTestCase

from sync.outbox.mapping_changes import plan_for_changed_mappings

KEPT = {"django_content_type", "django_migrations", "auth_permission"}  # what `migrate` wrote, and no test changes


def _empty(case: TransactionTestCase) -> None:
    empty(case._databases_names(include_mirrors=False))


def empty(aliases: Iterable[str] = (DEFAULT_DB_ALIAS,)) -> None:
    for alias in aliases:
        connection = connections[alias]
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        looks = [f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in tables if table not in KEPT]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(looks))
            full = [row[0] for row in cursor.fetchall()]
        if full:
            connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), full))
            plan_for_changed_mappings(alias)


def install() -> None:
    case: Any = TransactionTestCase
    case._fixture_teardown = _empty
