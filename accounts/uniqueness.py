"""Conditional uniqueness: by a generated column if the database has no conditional indexes.

allauth declares three such constraints: a verified address belongs to one user, a user has one primary address, and one
authenticator of each kind. MySQL and MariaDB do not create them (Django's warning models.W036). There, each gets a
column that is NULL unless the condition holds, and a unique index on it, which NULL never violates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from django.core.checks import Tags, Warning, register
from django.core.management.base import CommandError
from django.db import connections


class Rule(NamedTuple):
    """`columns` are unique together; the generated `column` holds `value`."""

    name: str
    table: str
    column: str
    kind: str
    value: str
    columns: tuple[str, ...]
    says: str


RULES = [
    Rule("unique_verified_email", "account_emailaddress", "verified_email", "varchar(254)",
         "IF(verified, email, NULL)", ("verified_email",), "an address is verified for one person"),
    Rule("unique_primary_email", "account_emailaddress", "primary_of", "bigint",
         "IF(`primary`, user_id, NULL)", ("primary_of",), "a person has one primary address"),
    Rule("unique_authenticator_type", "mfa_authenticator", "kind_once", "varchar(20)",
         "IF(type IN ('totp', 'recovery_codes'), type, NULL)", ("user_id", "kind_once"),
         "a person has one authenticator of a kind"),
]  # fmt: skip


def create(connection: Any) -> None:
    """Adds columns and indexes; nothing if they exist or the database has conditional indexes.

    Raises CommandError with the rows that prevent it.
    """
    if connection.features.supports_partial_indexes:
        return
    existing = _indexes(connection)
    missing = [rule for rule in RULES if rule.name not in existing]
    if problems := [text for rule in missing for text in _in_the_way(connection, rule)]:
        raise CommandError("\n".join(["These rows prevent unique indexes. Remove or change some of them:", *problems]))
    with connection.cursor() as cursor:
        for rule in missing:
            cursor.execute(
                f"ALTER TABLE {rule.table} ADD COLUMN {rule.column} {rule.kind}"
                f" GENERATED ALWAYS AS ({rule.value}) VIRTUAL,"
                f" ADD UNIQUE INDEX {rule.name} ({', '.join(rule.columns)})"
            )


def remove(connection: Any) -> None:
    if connection.features.supports_partial_indexes:
        return
    existing = _indexes(connection)
    with connection.cursor() as cursor:
        for rule in RULES:
            if rule.name in existing:
                cursor.execute(f"ALTER TABLE {rule.table} DROP INDEX {rule.name}, DROP COLUMN {rule.column}")


def _in_the_way(connection: Any, rule: Rule) -> list[str]:
    group = ", ".join([rule.value, *(column for column in rule.columns if column != rule.column)])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT GROUP_CONCAT(id ORDER BY id SEPARATOR ', ') FROM {rule.table}"  # noqa: S608
            f" WHERE {rule.value} IS NOT NULL GROUP BY {group} HAVING COUNT(*) > 1 LIMIT 20"
        )
        return [f"  {rule.table}: the rows with the ids {ids} ({rule.says})" for (ids,) in cursor.fetchall()]


def _indexes(connection: Any) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT index_name FROM information_schema.statistics"
            " WHERE table_schema = DATABASE() AND non_unique = 0"
        )
        return {name for (name,) in cursor.fetchall()}


@register(Tags.database)
def check(databases: Any = None, **kwargs: Any) -> list[Any]:
    """Replaces Django's models.W036, which cannot know these indexes: checks that they exist."""
    found = []
    for alias in databases or []:
        connection = connections[alias]
        if connection.features.supports_partial_indexes:
            continue
        existing = _indexes(connection)
        tables = set(connection.introspection.table_names())
        found += [
            Warning(
                f"{rule.table} has no index {rule.name}: so the database does not guarantee that {rule.says}.",
                hint="Run manage.py migrate. If it was run, another program has dropped the index.",
                id="accounts.W001",
            )
            for rule in RULES
            if rule.table in tables and rule.name not in existing
        ]
    return found
