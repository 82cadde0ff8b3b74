"""At every address, a safe method changes nothing and an unsafe one requires the CSRF token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts.models import User
from tests.world import World, patterns

pytestmark = pytest.mark.django_db

ROUTES = [route for _name, route, _pattern in patterns()]
READS = re.compile(r"\s*\(?(SELECT|SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT|EXPLAIN)\b", re.IGNORECASE)
SESSION = re.compile(r"\w+ (INTO |FROM )?.?accounts_session\b")


@contextmanager
def written() -> Iterator[list[str]]:
    """Collects the statements of this thread that may change a row, except those on sessions."""
    found: list[str] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not (READS.match(sql) or SESSION.match(sql)):
            found.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(record):
        yield found


def contents() -> dict[str, list[Any]]:
    """Every row of every table except the sessions."""
    rows = {}
    for table in connection.introspection.table_names():
        if table != "accounts_session":
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                rows[table] = sorted(cursor.fetchall(), key=repr)
    return rows


def test_reading_any_page_changes_no_row(made: World, mongo: Any) -> None:
    """Checks the statements, to catch changes that are undone again, and the tables' contents afterwards.

    Two exceptions are kept out: the dashboard starts to compute figures that are due (finance.report_cache), and
    allauth records when recovery codes were first seen.
    """
    made.clients["superuser"].get("/two-factor/recovery-codes/")
    before, addresses = contents(), made.addresses()
    later = len(connection.run_on_commit)
    for route in ROUTES:
        for method in ("get", "head", "options"):
            with written() as statements:
                getattr(made.clients["superuser"], method)(addresses[route])
            assert statements == [], (method, route)
    assert len(connection.run_on_commit) == later, "a page registered an on_commit callback"
    assert contents() == before
    assert [name for name in mongo.list_collection_names() if mongo[name].find_one()] == []


def test_a_write_would_be_detected(made: World) -> None:
    before = contents()
    with written() as statements:
        made.people["customer"].save()
    assert len(statements) == 1
    User.objects.get(pk=made.people["customer"].pk).delete()  # other tests use the object with its key
    assert contents() != before


@pytest.mark.parametrize("who", ["nobody", "superuser"])
def test_nothing_is_accepted_without_the_csrf_token(made: World, who: str) -> None:
    """No view is exempt, including those that accept only GET."""
    client, addresses = Client(enforce_csrf_checks=True), made.addresses()
    if who == "superuser":
        client.cookies = made.clients["superuser"].cookies
        assert client.get("/admin/").status_code == 200
    client.get("/login/")  # sets the cookie, so that only the form's token is missing
    for method in ("post", "put", "patch", "delete"):
        for route in ROUTES:
            with written() as statements:
                answer = getattr(client, method)(addresses[route], {"csrfmiddlewaretoken": "x" * 32})
            assert answer.status_code == 403, (method, route)
            assert "The form has expired" in answer.content.decode(), (method, route)
            assert statements == [], (method, route)
