"""Users without a dashboard of their own see which steps are done, what they wait for, and whom to ask."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import Decision, User
from accounts.role_requests import decide

pytestmark = pytest.mark.quick

DAY = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
STEP = re.compile(r'<li class="step-(\w+)".*?<strong>([^<]+)</strong>.*?</li>', re.DOTALL)


def steps(page: str) -> list[tuple[str, str]]:
    return [(title, state) for state, title in STEP.findall(page)]


@pytest.fixture
def visit(client: Client, person: Callable[..., User]) -> Callable[..., str]:
    """The page that a user with these fields gets as their dashboard."""

    def go(**fields: Any) -> str:
        client.force_login(person("nora", **{"role": "customer", "date_joined": DAY} | fields))
        return client.get("/dashboard/", follow=True).content.decode()

    return go


def test_a_customer_waits_for_the_link(visit: Callable[..., str]) -> None:
    page = visit()
    assert steps(page) == [("Registered", "done"), ("Linked to your records", "waiting")]
    assert "on 1 Mar 2026" in page
    assert "since 1 Mar 2026" in page
    assert "a matching name or email address is not enough" in page
    assert "only if you are also a customer" not in page


@pytest.mark.parametrize(
    ("decision", "title", "state", "words"),
    [
        ("", "Approved", "waiting", "You requested the role Technical worker."),
        ("approved", "Approved", "done", "Staff approved your request"),
        ("declined", "Not approved", "declined", "Staff declined your request"),
    ],
)
def test_a_request_is_a_step_of_its_own(
    visit: Callable[..., str], decision: str, title: str, state: str, words: str
) -> None:
    page = visit(
        requested_role="technical_worker", request_decision=decision,
        request_decided_at=DAY + datetime.timedelta(2) if decision else None,
    )  # fmt: skip
    assert steps(page) == [("Registered", "done"), (title, state), ("Linked to your records", "waiting")]
    assert words in page
    assert ("on 3 Mar 2026" in page) == bool(decision)
    assert ("only if you are also a customer" in page) == (decision != "declined")


def test_a_user_without_a_role_waits_for_one(visit: Callable[..., str]) -> None:
    page = visit(role="", requested_role="senior_management")
    assert steps(page) == [("Registered", "done"), ("Approved", "waiting"), ("Role assigned", "waiting")]


def test_a_decision_of_long_ago_has_no_day(visit: Callable[..., str]) -> None:
    page = visit(requested_role="technical_worker", request_decision="declined")
    assert page.count("<time") == 2


def test_a_decision_is_dated(visit: Callable[..., str], client: Client) -> None:
    visit(requested_role="technical_worker")
    nora = User.objects.get(username="nora")
    before = datetime.datetime.now(datetime.UTC)
    assert decide(nora, Decision.DECLINED)
    nora.refresh_from_db()
    assert nora.request_decided_at is not None
    assert before <= nora.request_decided_at <= datetime.datetime.now(datetime.UTC)
    assert client.get("/dashboard/", follow=True).content.decode().count("<time") == 3


@pytest.mark.parametrize("role", ["", "customer"])
def test_the_page_says_whom_to_ask(visit: Callable[..., str], client: Client, settings: Any, role: str) -> None:
    page = visit(role=role)
    assert "ask our staff" in page
    assert "mailto:" not in page
    settings.SUPPORT_EMAIL = "help@example.com"
    page = client.get("/dashboard/", follow=True).content.decode()
    assert '<a href="mailto:help@example.com">help@example.com</a>' in page
    assert "ask our staff" not in page
