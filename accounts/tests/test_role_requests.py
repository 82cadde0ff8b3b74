"""Role requests: staff decide, and the user is told."""

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
def requester(person: Callable[..., User]) -> User:
    return person("tom", first_name="Tom", role="customer", requested_role="technical_worker")


@pytest.fixture
def clerk(person: Callable[..., User]) -> User:
    """Staff who may only view users and decide requests."""
    clerk = person("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "decide_requests"]))
    return clerk


def act(client: Client, action: str, *users: User) -> Any:
    form = {"action": action, "_selected_action": [user.pk for user in users]}
    return client.post(USERS, form, follow=True)


def test_approving_grants_the_role_and_sends_an_email(
    client: Client, clerk: User, requester: User, django_capture_on_commit_callbacks: Any
) -> None:
    client.force_login(clerk)
    with django_capture_on_commit_callbacks(execute=True):
        act(client, "approve_requests", requester)
    requester.refresh_from_db()
    assert (requester.role, requester.request_decision) == ("technical_worker", "approved")
    assert requester.has_perm("sync.view_console")
    [message] = mail.outbox
    assert message.to == ["tom@example.com"]
    assert "approved" in message.body


def test_declining_changes_nothing_else_and_sends_an_email(
    client: Client, clerk: User, requester: User, django_capture_on_commit_callbacks: Any
) -> None:
    client.force_login(clerk)
    with django_capture_on_commit_callbacks(execute=True):
        act(client, "decline_requests", requester)
    requester.refresh_from_db()
    assert (requester.role, requester.request_decision) == ("customer", "declined")
    assert "declined" in mail.outbox[0].body


def test_a_request_can_be_decided_only_once(requester: User, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert decide(requester, Decision.DECLINED)
        assert not decide(requester, Decision.APPROVED)
    requester.refresh_from_db()
    assert requester.role == "customer"
    assert len(mail.outbox) == 1


def test_staff_without_the_permission_cannot_decide(client: Client, clerk: User, requester: User) -> None:
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    client.force_login(clerk)
    assert "approve_requests" not in client.get(USERS).content.decode()
    act(client, "approve_requests", requester)
    requester.refresh_from_db()
    assert requester.has_pending_request


def test_staff_cannot_decide_their_own_request(client: Client, clerk: User) -> None:
    clerk.requested_role = "senior_management"
    clerk.save()
    client.force_login(clerk)
    assert "was skipped" in act(client, "approve_requests", clerk).content.decode()
    clerk.refresh_from_db()
    assert clerk.has_pending_request


def test_staff_who_can_decide_see_how_many_people_wait(client: Client, clerk: User, requester: User, ada: User) -> None:
    client.force_login(clerk)
    for path in ("/admin/", "/profile/"):
        assert "1 person waits" in client.get(path).content.decode()
    page = client.get(USERS, {"request": "pending"})
    assert "Pending (1)" in page.content.decode()
    assert list(page.context["cl"].queryset) == [requester]
    client.force_login(ada)
    assert "person waits" not in client.get("/profile/").content.decode()


@pytest.mark.parametrize(
    ("decision", "words"),
    [("", "will email you their decision"), ("approved", "was approved"), ("declined", "was declined")],
)
def test_the_user_sees_the_state_of_the_request(client: Client, requester: User, decision: str, words: str) -> None:
    User.objects.update(request_decision=decision)
    client.force_login(requester)
    assert words in client.get("/profile/").content.decode()


def test_assigning_the_role_in_the_admin_approves_the_request(client: Client, superuser: User, requester: User) -> None:
    client.force_login(superuser)
    confirm_identity(client)
    form = client.get(f"{USERS}{requester.pk}/change/").context["adminform"].form
    data = {name: value for name, value in form.initial.items() if value not in (None, False)}
    client.post(f"{USERS}{requester.pk}/change/", {**data, "role": "technical_worker"})
    requester.refresh_from_db()
    assert (requester.role, requester.request_decision) == ("technical_worker", "approved")
