"""Empties the database after a test that commits: truncates only tables with rows, and keeps the permissions.

Django truncates every table and runs the `post_migrate` receivers. On MariaDB that took more than half of the tests'
time.
"""

from collections.abc import Iterable
from typing import Any

from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, connections
from django.test import TransactionTestCase

from sync.outbox.mapping_changes import plan_for_changed_mappings
from sync.workers.models import ModelState

# Rows that `migrate` writes and no test changes. The rows of ModelState are restored below.
KEPT = {"django_content_type", "django_migrations", "auth_permission", ModelState._meta.db_table}
STATES: dict[str, list[dict[str, Any]]] = {}  # the rows of ModelState that `migrate` writes, by database alias


def _empty(case: TransactionTestCase) -> None:
    empty(case._databases_names(include_mirrors=False))


def empty(aliases: Iterable[str] = (DEFAULT_DB_ALIAS,)) -> None:
    for alias in aliases:
        connection = connections[alias]
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        queries = [f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in tables if table not in KEPT]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(queries))
            full = [row[0] for row in cursor.fetchall()]
        if full:
            connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), full))
        _restore_states(alias)


def _restore_states(alias: str) -> None:
    """Restores saved rows: computing the mappings' fingerprints for each test took longer than emptying all tables."""
    states = ModelState.objects.using(alias)
    if alias in STATES:
        if list(states.order_by("pk").values()) != STATES[alias]:
            states.all().delete()
            states.bulk_create(ModelState(**row) for row in STATES[alias])
    else:
        states.all().delete()
        plan_for_changed_mappings(alias)
        STATES[alias] = list(states.order_by("pk").values())


def install() -> None:
    case: Any = TransactionTestCase
    case._fixture_teardown = _empty
