"""The list of people who wait for staff: who sees whom, in which order, and with how many queries."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from finance.tests.people import customer
from tests.waiting import DECIDE, LINK, browser, requester, somebody, staff

pytestmark = pytest.mark.django_db

PEOPLE = "/people/"


def listed(client: Client, **search: Any) -> list[str]:
    return [person.username for person in client.get(PEOPLE, search).context["page"]]


@pytest.fixture
def everybody() -> None:
    """A requester who is linked, one who is not, a customer who is not, one who is, and people who do not wait."""
    customer("Anna", [], linked=requester("tom"))
    requester("una")
    somebody("carl")
    customer("Bert", [], linked=somebody("lena"))
    somebody("done", role="technical_worker", requested_role="technical_worker", request_decision="approved")
    somebody("left", is_active=False)
    requester("gone", is_active=False)


@pytest.mark.parametrize(
    ("permissions", "waiting"),
    [([DECIDE], ["tom", "una"]), ([LINK], ["una", "carl"]), ([DECIDE, LINK], ["tom", "una", "carl"])],
)
def test_staff_see_who_waits_for_what_they_may_do(everybody: None, permissions: list[str], waiting: list[str]) -> None:
    client = browser(staff(*permissions))
    assert listed(client) == waiting
    assert f"{len(waiting)} people wait" in client.get("/profile/").content.decode()


def test_staff_without_these_rights_and_others_with_them_see_nobody(everybody: None) -> None:
    holder = somebody("holder", role="technical_worker")
    holder.user_permissions.set(Permission.objects.filter(codename__in=[DECIDE, LINK]))
    una = User.objects.get(username="una")
    for user in (staff(), holder):
        client = browser(user)
        assert client.get(PEOPLE).status_code == client.get(f"{PEOPLE}{una.pk}/").status_code == 403
        assert client.post(f"{PEOPLE}{una.pk}/", {"act": "approve"}).status_code == 403
        profile = client.get("/profile/").content.decode()
        assert "icon-bell" not in profile
        assert f'href="{PEOPLE}"' not in profile
    una.refresh_from_db()
    assert una.has_pending_request


@pytest.mark.parametrize(
    ("permission", "visible"), [(DECIDE, {"tom", "una", "done"}), (LINK, {"tom", "una", "carl", "lena"})]
)
def test_people_whom_staff_can_do_nothing_for_have_no_page(everybody: None, permission: str, visible: set[str]) -> None:
    client = browser(staff(permission))
    answers = {user.username: client.get(f"{PEOPLE}{user.pk}/").status_code for user in User.objects.all()}
    assert answers == {name: 200 if name in visible else 404 for name in answers}


def test_the_list_begins_with_the_longest_wait(everybody: None) -> None:
    User.objects.filter(username="carl").update(date_joined=datetime(2026, 1, 31, 12, tzinfo=UTC))
    page = browser(staff(DECIDE, LINK)).get(PEOPLE)
    assert [person.username for person in page.context["page"]] == ["carl", "tom", "una"]
    assert "registered on 31 Jan 2026" in " ".join(page.content.decode().split())


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({"q": "un"}, ["una"]),
        ({"q": "CARL@example"}, ["carl"]),
        ({"q": "mason peri"}, ["una"]),
        ({"q": "mason carl"}, []),
        ({"q": "example"}, []),
        ({"show": "requests"}, ["tom", "una"]),
        ({"show": "unlinked"}, ["una", "carl"]),
        ({"show": "linked"}, ["tom", "lena"]),
        ({"show": "linked", "q": "len"}, ["lena"]),
        ({"show": "nonsense"}, []),
    ],
)
def test_a_search_finds_by_the_start_of_names(everybody: None, search: dict[str, str], found: list[str]) -> None:
    User.objects.filter(username="una").update(first_name="Peridot", last_name="Mason")
    assert listed(browser(staff(DECIDE, LINK)), **search) == found


def test_a_long_list_ends_with_a_hint(everybody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analytics_site.people.PER_PAGE", 1)
    client = browser(staff(DECIDE, LINK))
    assert "Page 3 of 3, 3 in all" in client.get(PEOPLE, {"page": 3}).content.decode()
    monkeypatch.setattr("analytics_site.people.LISTED", 2)
    page = client.get(PEOPLE, {"page": 3})
    assert "Page 2 of 2. Only the first 2 people are listed: search for others." in page.content.decode()
    assert len(page.context["page"].object_list) == 1


def test_each_empty_list_says_why() -> None:
    client = browser(staff(DECIDE, LINK))
    for search, words in (
        ({}, "Nobody waits."),
        ({"q": "x"}, "Nobody matches your search."),
        ({"show": "nonsense"}, "Fix the highlighted field"),
    ):
        assert words in client.get(PEOPLE, search).content.decode()


def test_a_state_is_shown_in_words() -> None:
    requester("tom")
    EmailAddress.objects.filter(user__username="tom").update(verified=False)
    page = browser(staff(DECIDE, LINK)).get(PEOPLE).content.decode()
    assert re.findall(r'class="badge text-bg-[a-z]+">([^<0-9]+)<', page) == [
        "Requests: Technical worker", "Not linked", "Email not verified",
    ]  # fmt: skip


def test_pages_need_as_few_queries_for_many_people_as_for_few() -> None:
    client = browser(staff(DECIDE, LINK))
    counts = []
    for number in (3, 60):
        for index in range(number):
            requester(f"r{number}-{index}")
            customer(f"Double {number}-{index}", [], linked=None)
        address = f"{PEOPLE}{User.objects.filter(username=f'r{number}-0').get().pk}/?q=double"
        for path in (PEOPLE, address):
            client.get(path)  # fills the cache of the bell
            with CaptureQueriesContext(
                connection,
            ) as queries:
                page = client.get(path)
            counts.append(len(queries))
    assert page.context["has_more"]
    assert counts[:2] == counts[2:]
    assert max(counts) < 14
    assert len(listed(client)) == 25
    assert len(listed(client, page=3)) == 13


def test_the_bell_counts_once_for_all_pages_until_something_changes(everybody: None) -> None:
    clerk = staff(DECIDE, LINK)
    client = browser(clerk)
    cache.clear()
    with CaptureQueriesContext(connection) as first:
        assert "3 people wait" in client.get("/profile/").content.decode()
    requester("another")
    with CaptureQueriesContext(connection) as second:
        assert "3 people wait" in client.get("/profile/").content.decode()
    assert len(first) - len(second) == 1
    client.post(f"{PEOPLE}{User.objects.get(username='tom').pk}/", {"act": "decline"})
    assert "3 people wait" in client.get("/profile/").content.decode()  # una, carl, another
