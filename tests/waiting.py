"""Users for the tests of the pages on which staff decide requests and link records."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User

PASSWORD = "correct-horse-7"
DECIDE, LINK = "decide_requests", "change_customer"


def somebody(username: str, role: str = "customer", **fields: Any) -> User:
    """A user with a confirmed address: by default a customer without a record."""
    user = User.objects.create_user(username, f"{username}@example.com", PASSWORD, role=role, **fields)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def requester(username: str = "tom", **fields: Any) -> User:
    return somebody(username, requested_role="technical_worker", **fields)


def staff(*permissions: str, username: str = "clerk", **fields: Any) -> User:
    user = somebody(username, role="", is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def browser(user: User, *, confirmed: bool = True) -> Client:
    """A signed-in client. confirmed: has just confirmed the password."""
    client = Client()
    client.force_login(user)
    if confirmed:
        client.post("/reauthenticate/", {"password": PASSWORD})
    return client
