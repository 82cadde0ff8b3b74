"""A request for a role: staff decide, the person learns of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.test import Client

from accounts.models import Decision, User
from accounts.role_requests import decide
from accounts.tests.conftest import confirm_identity

pytestmark = pytest.mark.quick

USERS = "/admin/accounts/user/"


@pytest.fixture
def asking(person: Callable[..., User]) -> User:
    return person("tom", first_name="Tom", role="customer", requested_role="technical_worker")


@pytest.fixture
def clerk(person: Callable[..., User]) -> User:
    """Staff who may look at people and decide, and nothing else."""
    clerk = person("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "decide_requests"]))
    return clerk


def act(client: Client, action: str, *users: User) -> Any:
    form = {"action": action, "_selected_action": [user.pk for user in users]}
    return client.post(USERS, form, follow=True)


def test_approving_gives_the_role_and_mails(
    client: Client, clerk: User, asking: User, django_capture_on_commit_callbacks: Any
) -> None:
    client.force_login(clerk)
    with django_capture_on_commit_callbacks(execute=True):
        act(client, "approve_requests", asking)
    asking.refresh_from_db()
    assert (asking.role, asking.request_decision) == ("technical_worker", "approved")
    assert asking.has_perm("sync.view_console")
    [message] = mail.outbox
    assert message.to == ["tom@example.com"]
    assert "approved" in message.body


def test_declining_changes_nothing_else_and_mails(
    client: Client, clerk: User, asking: User, django_capture_on_commit_callbacks: Any
) -> None:
    client.force_login(clerk)
    with django_capture_on_commit_callbacks(execute=True):
        act(client, "decline_requests", asking)
    asking.refresh_from_db()
    assert (asking.role, asking.request_decision) == ("customer", "declined")
    assert "declined" in mail.outbox[0].body


def test_a_request_is_decided_once(asking: User, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert decide(asking, Decision.DECLINED)
        assert not decide(asking, Decision.APPROVED)
    asking.refresh_from_db()
    assert asking.role == "customer"
    assert len(mail.outbox) == 1


def test_staff_without_the_permission_cannot_decide(client: Client, clerk: User, asking: User) -> None:
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    client.force_login(clerk)
    assert "approve_requests" not in client.get(USERS).content.decode()
    act(client, "approve_requests", asking)
    asking.refresh_from_db()
    assert asking.has_pending_request


def test_nobody_decides_on_their_own_request(client: Client, clerk: User) -> None:
    clerk.requested_role = "senior_management"
    clerk.save()
    client.force_login(clerk)
    assert "was skipped" in act(client, "approve_requests", clerk).content.decode()
    clerk.refresh_from_db()
    assert clerk.has_pending_request


def test_who_may_decide_sees_how_many_wait(client: Client, clerk: User, asking: User, ada: User) -> None:
    client.force_login(clerk)
    for path in ("/admin/", "/profile/"):
        assert "1 request waits" in client.get(path).content.decode()
    page = client.get(USERS, {"request": "pending"})
    assert "Pending (1)" in page.content.decode()
    assert list(page.context["cl"].queryset) == [asking]
    client.force_login(ada)
    assert "request waits" not in client.get("/profile/").content.decode()


@pytest.mark.parametrize(
    ("decision", "words"),
    [("", "will email you their decision"), ("approved", "was approved"), ("declined", "was declined")],
)
def test_the_person_sees_the_state(client: Client, asking: User, decision: str, words: str) -> None:
    User.objects.update(request_decision=decision)
    client.force_login(asking)
    assert words in client.get("/profile/").content.decode()


def test_giving_the_role_by_hand_answers_the_request(client: Client, superuser: User, asking: User) -> None:
    client.force_login(superuser)
    confirm_identity(client)
    form = client.get(f"{USERS}{asking.pk}/change/").context["adminform"].form
    data = {name: value for name, value in form.initial.items() if value not in (None, False)}
    client.post(f"{USERS}{asking.pk}/change/", {**data, "role": "technical_worker"})
    asking.refresh_from_db()
    assert (asking.role, asking.request_decision) == ("technical_worker", "approved")
