"""Looking changes nothing, and nothing is sent without the form's token: at every address that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tests.world import World, patterns

pytestmark = pytest.mark.django_db

ROUTES = [route for _name, route, _pattern in patterns()]
READS = re.compile(r"\s*\(?(SELECT|SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT|EXPLAIN)\b", re.IGNORECASE)
SESSION = re.compile(r"\w+ (INTO |FROM )?.?django_session\b")


@contextmanager
def written() -> Iterator[list[str]]:
    """The statements that this thread sends meanwhile which may change a row; sessions excepted."""
    found: list[str] = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not (READS.match(sql) or SESSION.match(sql)):
            found.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        yield found


def contents() -> dict[str, list[Any]]:
    """Every row of every table but the sessions."""
    rows = {}
    for table in connection.introspection.table_names():
        if table != "django_session":
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                rows[table] = sorted(cursor.fetchall(), key=repr)
    return rows


def test_looking_at_any_page_changes_no_row(made: World, mongo: Any) -> None:
    """By its statements, so that a change that is taken back counts as well, and by what is in the tables after all.

    Two exceptions, kept out of it: figures that are due, which a look at the dashboard begins to compute
    (finance.report_cache), and allauth's note of when recovery codes were first seen.
    """
    made.clients["superuser"].get("/two-factor/recovery-codes/")
    before, addresses = contents(), made.addresses()
    later = len(connection.run_on_commit)
    for route in ROUTES:
        for method in ("get", "head", "options"):
            with written() as statements:
                getattr(made.clients["superuser"], method)(addresses[route])
            assert statements == [], (method, route)
    assert len(connection.run_on_commit) == later, "nothing waits for the commit either"
    assert contents() == before
    assert [name for name in mongo.list_collection_names() if mongo[name].find_one()] == []


def test_that_test_can_fail(made: World) -> None:
    before = contents()
    with written() as statements:
        made.people["customer"].save()
    assert len(statements) == 1
    made.people["customer"].delete()
    assert contents() != before


@pytest.mark.parametrize("who", ["nobody", "superuser"])
def test_nothing_is_accepted_without_the_token(made: World, who: str) -> None:
    """No view is exempt, those that only answer to GET included."""
    client, addresses = Client(enforce_csrf_checks=True), made.addresses()
    if who == "superuser":
        client.cookies = made.clients["superuser"].cookies
        assert client.get("/admin/").status_code == 200
    client.get("/login/")  # sets the cookie, so that it is the token in the form that is missed
    for method in ("post", "put", "patch", "delete"):
        for route in ROUTES:
            with written() as statements:
                answer = getattr(client, method)(addresses[route], {"csrfmiddlewaretoken": "x" * 32})
            assert answer.status_code == 403, (method, route)
            assert "The form has expired" in answer.content.decode(), (method, route)
            assert statements == [], (method, route)
