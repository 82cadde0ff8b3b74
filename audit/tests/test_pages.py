"""The audit log as a page and as CSV: who can see it, what can be searched, and that no cell is a formula."""

import csv
import io
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from audit.models import Act, Entry
from audit.views import PAGE

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


def entry(number: int = 1, **fields: Any) -> Entry:
    made = {"who": "ada", "act": Act.CHANGE, "model": "finance.account", "key": f"key{number}", "text": f"No {number}."}
    return Entry.objects.create(**(made | fields))


@pytest.fixture
def reader(client: Client) -> Client:
    user = get_user_model().objects.create_user("reader", "reader@example.com", "x")
    user.user_permissions.add(Permission.objects.get(codename="view_entry"))
    client.force_login(user)
    return client


def text(client: Client, query: str = "") -> str:
    return " ".join(client.get(f"/audit/{query}").content.decode().split())


def rows(client: Client, query: str = "") -> list[dict[str, str]]:
    response = client.get(f"/audit/entries.csv{query}")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["/audit/", "/audit/entries.csv"])
def test_the_audit_log_requires_the_permission(client: Client, path: str) -> None:
    assert client.get(path)["Location"].startswith("/login/")
    client.force_login(get_user_model().objects.create_user("someone", "someone@example.com", "x"))
    assert client.get(path).status_code == 403


@pytest.mark.parametrize("path", ["/audit/", "/audit/entries.csv"])
def test_the_audit_log_accepts_no_input(reader: Client, path: str) -> None:
    assert reader.post(path).status_code == 405
    assert Entry not in admin.site._registry
    assert set(Permission.objects.filter(content_type__app_label="audit").values_list("codename", flat=True)) == {
        "view_entry"
    }


def test_an_entry_shows_the_values_before_and_after(reader: Client) -> None:
    entry(before={"limit": 1, "name": "<b>"}, after={"limit": 2, "name": None}, address="10.0.0.1")
    page = text(reader)
    for words in ("ada", "Changed", "No 1.", "finance.account", "<dt>limit</dt>", "&lt;b&gt;", "from 10.0.0.1"):
        assert words in page


def test_an_empty_log_and_an_empty_search_have_different_messages(reader: Client) -> None:
    assert "No entries yet." in text(reader)
    assert "No entries match your search." in text(reader, "?who=nobody")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("who=AD", {"1"}), ("act=pause", {"2"}), ("model=sync.target", {"2"}), ("model=finance.customer", set()),
        ("key=k3", {"3"}), ("since=2020-01-02", {"2", "3"}), ("until=2020-01-01", {"1"}), ("act=nonsense", set()),
        ("since=nonsense", set()), ("model=nonsense", set()), ("who__startswith=b", {"1", "2", "3"}),
    ],
)  # fmt: skip
def test_page_and_csv_are_searched_by_who_what_and_when(reader: Client, query: str, found: set) -> None:
    entry(1, who="ada", key="k1", at="2020-01-01T23:59Z")
    entry(2, who="bob", key="k2", at="2020-01-02T00:00Z", act="pause", model="sync.target")
    entry(3, who="bob", key="k3", at="2020-01-03T00:00Z")
    if "nonsense" in query:
        assert b"Nothing was exported" in reader.get(f"/audit/entries.csv?{query}").content
    else:
        assert {row["text"].strip("No .") for row in rows(reader, f"?{query}")} == found
    page = text(reader, f"?{query}")
    assert {number for number in "123" if f"No {number}." in page} == found


def test_an_export_over_the_limit_is_refused_instead_of_truncated(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.responses.LARGEST_EXPORT", 3)
    for number in range(4):
        entry(number)
    response = reader.get("/audit/entries.csv?who=ada")
    assert response.status_code == 400
    assert b"more than 3 rows" in response.content
    assert b'href="/audit/?who=ada"' in response.content
    assert [row["key"] for row in rows(reader, "?key=key2")] == ["key2"]


def test_older_pages_do_not_change_when_entries_are_added(reader: Client) -> None:
    made = [entry(number) for number in range(PAGE + 2)]
    older = f"?below={made[2].pk}"
    assert f"below={made[2].pk}" in text(reader)
    entry(99)
    page = text(reader, older)
    assert "No 1." in page
    assert "No 2." not in page
    assert "No 99." not in page


def test_a_page_takes_the_same_number_of_queries_for_any_number_of_entries(
    reader: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(PAGE + 1):
        entry(number)
    with django_assert_num_queries(6):
        reader.get("/audit/")


def test_the_csv_contains_all_entries_and_no_formula(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.views.CHUNK", 2)
    for number in range(5):
        entry(number, who=f"=HYPERLINK({number})", text="\t+1", before={"a": "=1"}, after={"a": "ü"})
    found = rows(reader)
    assert [row["key"] for row in found] == [f"key{number}" for number in (4, 3, 2, 1, 0)]
    assert found[0]["who"] == "'=HYPERLINK(4)"
    assert found[0]["text"] == "'\t'+1"
    assert found[0]["after"] == '{"a": "ü"}'
