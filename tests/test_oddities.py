"""Every page, export, chart, admin list and form works and shows the value, whatever SQL has written into a table."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, models
from django.urls import NoReverseMatch, reverse

from examples.news.models import Story
from finance.models import Customer
from finance.record_types import RECORD_TYPES
from sync.models import DocumentField
from tests.oddities import MODELS, insert_odd_rows
from tests.world import World

pytestmark = [pytest.mark.django_db, pytest.mark.engine]

LISTINGS = {kind.model: kind for kind in RECORD_TYPES}
NOTE = re.compile(r"(\d+) records? could not be read in full")


@pytest.fixture(scope="module")
def odd(made: World) -> World:
    """The world, with a row for each odd value in each table."""
    found = {model: made.rows.get(model) or model._default_manager.all()[0] for model in MODELS}
    counts = insert_odd_rows(list(found.values()))
    assert min(counts[model._meta.db_table] for model in MODELS) >= 8, counts
    for client in made.clients.values():
        client.raise_request_exception = False
    return made


def body_of(answer: Any) -> str:
    data = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return str(data.decode())


def problem_of(answer: Any) -> str:
    """Why a page failed; empty if it did not."""
    try:
        body_of(answer)
    except Exception as error:
        return repr(error)
    return repr(getattr(answer, "exc_info", None)) if answer.status_code >= 500 else ""


def some(keys: list[Any]) -> list[Any]:
    """Every sixteenth key; all of them with ODDITIES=all."""
    return keys if os.environ.get("ODDITIES") == "all" else keys[::16]


def keys_of(model: type[models.Model]) -> list[Any]:
    """The keys of all rows, read by SQL and not by the code under test."""
    with connection.cursor() as cursor:
        assert model._meta.pk is not None
        cursor.execute(f"SELECT {connection.ops.quote_name(model._meta.pk.column)} FROM {model._meta.db_table}")
        return [key for (key,) in cursor.fetchall()]


def check(answers: Iterator[tuple[str, Any]]) -> None:
    problems: dict[str, list[str]] = {}
    for where, answer in answers:
        if problem := problem_of(answer):
            problems.setdefault(re.sub(" at 0x.*", "", problem)[:300], []).append(where)
    assert not problems, "\n".join(f"{problem}: {', '.join(where[:5])}" for problem, where in problems.items())


def test_every_page_answers(odd: World) -> None:
    """For each role, including the admin's pages. `addresses` includes pages that are added later."""
    check(
        (f"{who} {address}", client.get(address))
        for who, client in odd.clients.items()
        for address in odd.addresses().values()
    )


def test_every_page_of_an_odd_record_answers(odd: World) -> None:
    """The detail, edit and delete pages."""

    def answers() -> Iterator[tuple[str, Any]]:
        for model in LISTINGS:
            for key in some(keys_of(model)):
                for page in ("detail", "edit", "delete"):
                    try:
                        address = reverse(f"finance:{model._meta.model_name}_{page}", args=[key])
                    except NoReverseMatch:
                        continue
                    yield address, odd.clients["technical_worker"].get(address)
                    if page != "delete":
                        yield f"POST {address}", odd.clients["technical_worker"].post(address, {})

    check(answers())


def test_every_admin_page_of_an_odd_row_answers(odd: World) -> None:
    def answers() -> Iterator[tuple[str, Any]]:
        for model in (*LISTINGS, Story):
            for key in some(keys_of(model)):
                for page in ("change", "delete", "history") if key else ():
                    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=[key])
                    yield address, odd.clients["superuser"].get(address)
                    if page == "change":
                        yield f"POST {address}", odd.clients["superuser"].post(address, {})

    check(answers())


def test_a_customers_pages_answer_with_every_odd_record_linked(odd: World) -> None:
    """A customer's pages work whatever their linked record contains."""

    def answers() -> Iterator[tuple[str, Any]]:
        own = odd.own["customer"].pk
        user = odd.people["customer"].pk
        pages = ["finance:customer_dashboard", "finance:own_trades", "finance:account_list"]
        with connection.cursor() as cursor:
            for table in ("account", "transaction"):  # odd rows, of which each page would show hundreds
                cursor.execute(f"DELETE FROM finance_{table} WHERE _id LIKE '0000%%' AND account_id = 1", [])
            for key in some(keys_of(Customer)):
                cursor.execute("UPDATE finance_customer SET user_id = NULL WHERE user_id = %s", [user])
                cursor.execute("UPDATE finance_customer SET user_id = %s WHERE _id = %s", [user, key])
                for page in pages:
                    yield f"{page} of {key}", odd.clients["customer"].get(reverse(page))
            cursor.execute("UPDATE finance_customer SET user_id = NULL WHERE user_id = %s", [user])
            cursor.execute("UPDATE finance_customer SET user_id = %s WHERE _id = %s", [user, own])

    check(answers())


@pytest.mark.parametrize("model", LISTINGS, ids=lambda model: model.__name__)
def test_paging_reaches_every_odd_row_once(odd: World, model: Any) -> None:
    """Sorted by every sortable column, in both directions, forwards and backwards: every row appears exactly once."""
    address = reverse(f"finance:{model._meta.model_name}_list")
    columns = [name for name, column in LISTINGS[model].table.base_columns.items() if column.orderable is not False]
    everything = sorted(key.lower() for key in keys_of(model))  # in lower case, as an ObjectIdField returns them
    for sort in [sign + name for name in columns for sign in ("", "-")]:
        for way, back in (("after", "next"), ("before", "previous")):
            seen, cursor = [], ""
            pages = 0
            while cursor is not None:
                answer: Any = odd.clients["technical_worker"].get(
                    address, {"sort": sort, "per_page": "25", **({way: cursor} if cursor else {})}
                )
                assert answer.status_code == 200, problem_of(answer)
                page = answer.context["page"]
                seen += [row.pk for row in page.records]
                if way == "before" and not cursor:  # go to the last page first
                    seen, last = [], page
                    while last.next:
                        last = (
                            odd.clients["technical_worker"]
                            .get(address, {"sort": sort, "per_page": "25", "after": last.next})
                            .context["page"]
                        )
                    seen, page = [row.pk for row in last.records], last
                cursor = getattr(page, back)
                pages += 1
                assert pages <= len(everything), "paging never ends"
            assert sorted(seen) == everything, (sort, way)


@pytest.mark.parametrize("model", LISTINGS, ids=lambda model: model.__name__)
def test_an_export_has_every_odd_row_and_counts_them(odd: World, model: Any) -> None:
    answer: Any = odd.clients["technical_worker"].get(reverse(f"finance:{model._meta.model_name}_export"))
    _header, *rows, note = csv.reader(io.StringIO(body_of(answer), newline=""))
    keys = [row[0].removeprefix("'") for row in rows]
    assert sorted(keys) == sorted(key.lower() for key in keys_of(model))
    assert len(note) == 1
    assert int(NOTE.match(note[0])[1]) > 3  # type: ignore[index]
    stored = {cell for row in rows for cell in row}
    if any(isinstance(model._meta.get_field(name), DocumentField) for name in LISTINGS[model].columns):
        assert "[broken" in stored
    else:
        assert connection.vendor == "sqlite" or any(cell.startswith("0000-00-00") for cell in stored)
