"""Deleting one's own account: at once, or as a request on which staff act in the admin (deactivate or delete)."""

from __future__ import annotations

from functools import partial
from typing import Any

from allauth.utils import build_absolute_uri
from django.contrib.auth import logout
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts import mails
from accounts.addresses import verified
from accounts.models import User
from audit.log import record
from audit.models import Act

REQUESTS = "?deletion_requested_at__isempty=0"  # the admin's filter of users


def is_last_superuser(user: User) -> bool:
    """Without whom nobody could administer the portal."""
    superusers = User.objects.filter(is_superuser=True, is_active=True)
    return user.is_superuser and not superusers.exclude(pk=user.pk).exists()


@transaction.atomic
def delete_now(request: HttpRequest, user: User) -> None:
    """Deletes the user of the request, and what refers to them; the audit log keeps what they did."""
    record(request, Act.DELETE, user, before={"username": user.username, "role": user.role})
    told = verified(user)
    logout(request)
    user.delete()
    transaction.on_commit(partial(_tell_owner, told))


@transaction.atomic
def ask(request: HttpRequest, user: User) -> None:
    """Asks staff to delete the account, and tells them once."""
    if _set(request, user, timezone.now()):
        path = reverse("admin:accounts_user_changelist") + REQUESTS
        transaction.on_commit(partial(_tell_staff, build_absolute_uri(request, path)))


@transaction.atomic
def withdraw(request: HttpRequest, user: User) -> None:
    _set(request, user, None)


def _set(request: HttpRequest, user: User, requested_at: Any) -> bool:
    """False if it was requested, or not, already."""
    before = user.deletion_requested_at
    if (before is None) == (requested_at is None):
        return False
    user.deletion_requested_at = requested_at
    user.save(update_fields=["deletion_requested_at"])
    changes = ({"deletion_requested_at": value} for value in (before, requested_at))
    record(request, Act.CHANGE, user, *changes)
    return True


def _tell_owner(addresses: list[str]) -> None:
    for address in addresses:
        mails.send("accounts/email/account_deleted", address, {})


def _tell_staff(url: str) -> None:
    """All who may delete users. The mail names nobody: a name may be a stranger's text."""
    for person in User.objects.with_perm("accounts.delete_user").filter(is_staff=True).exclude(email=None):
        mails.send("accounts/email/deletion_requested", person.email, {"users_url": url})
