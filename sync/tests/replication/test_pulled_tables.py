"""A system check names the foreign keys, triggers, events and columns that change pulled rows in the database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from sync.checks.pulled import check_pulled_tables
from sync.tests.zoo.models import Visit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def act(request: Any) -> Iterator[Callable[[str, str], None]]:
    """Returns a function that runs a statement at once, and another one after the test."""
    undo: list[str] = []

    def run(statement: str, undone_by: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        undo.append(undone_by)

    yield run
    with connection.cursor() as cursor:
        for statement in reversed(undo):
            cursor.execute(statement)


def named() -> list[str]:
    messages = check_pulled_tables(None, databases=["default"])
    assert {message.id for message in messages} <= {"sync.W027"}
    return [message.msg for message in messages]


def only_mysql() -> None:
    if connection.vendor != "mysql":
        pytest.skip("only for MySQL and MariaDB")


def test_tables_created_by_django_pass_the_check() -> None:
    assert named() == []


def test_a_trigger_of_a_pulled_table_or_one_that_names_it_is_named(act: Any) -> None:
    table = Visit._meta.db_table
    end = "SET NEW.minutes = 1" if connection.vendor == "mysql" else "BEGIN DELETE FROM zoo_visit WHERE 0; END"
    when = "BEFORE" if connection.vendor == "mysql" else "AFTER"
    try:
        act(f"CREATE TRIGGER on_visit {when} INSERT ON {table} FOR EACH ROW {end}", "DROP TRIGGER on_visit")
    except Exception as error:
        if "1419" in str(error):
            pytest.skip("this user may not create triggers while the binary log is on")
        raise
    begin, end = ("", "") if connection.vendor == "mysql" else ("BEGIN", "; END")
    act(
        f"CREATE TRIGGER on_ticket AFTER DELETE ON zoo_keeper FOR EACH ROW {begin} DELETE FROM {table} {end}",
        "DROP TRIGGER on_ticket",
    )
    assert [message.split(" runs")[0] for message in named()] == [
        "The trigger on_ticket of zoo_keeper", f"The trigger on_visit of {table}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("ON DELETE CASCADE", True), ("ON UPDATE CASCADE", True), ("ON DELETE SET NULL", True),
        ("ON DELETE RESTRICT", False), ("", False),
    ],
)  # fmt: skip
def test_a_foreign_key_with_an_action_is_named(act: Any, action: str, expected: bool) -> None:
    visit = "visit_id bigint" if connection.vendor == "mysql" else "visit_id integer"
    reference = f"FOREIGN KEY (visit_id) REFERENCES {Visit._meta.db_table} (id) {action}"
    act(f"CREATE TABLE by_hand (id integer PRIMARY KEY, {visit}, {reference})", "DROP TABLE by_hand")
    assert [" from by_hand to zoo_visit is ON DELETE" in message for message in named()] == [True] * expected


def test_an_event_that_names_a_pulled_table_is_named(act: Any) -> None:
    only_mysql()
    act(
        f"CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM `{Visit._meta.db_table}` WHERE id < 0",
        "DROP EVENT nightly",
    )
    act("CREATE EVENT other ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM zoo_keeper WHERE 0", "DROP EVENT other")
    assert named() == ["The event nightly runs in the database and may change rows that come from MongoDB."]


def test_a_column_that_the_server_updates_is_named(act: Any) -> None:
    only_mysql()
    act(
        f"ALTER TABLE {Visit._meta.db_table} ADD seen timestamp NULL ON UPDATE CURRENT_TIMESTAMP",
        f"ALTER TABLE {Visit._meta.db_table} DROP seen",
    )
    assert len(named()) == 1
    assert "zoo_visit.seen is ON UPDATE CURRENT_TIMESTAMP" in named()[0]
