"""What the portal stores about a user, for the user: without secrets, and without what concerns other people."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator

from accounts import sessions
from accounts.models import User
from accounts.pictures import CONTENT_TYPE
from audit.models import Entry

PROFILE = ("username", "first_name", "last_name", "email", "address", "role", "is_staff", "is_superuser",
           "date_joined", "last_login", "deletion_requested_at")  # fmt: skip
PREFERENCES = ("language", "time_zone", "number_format")
CHUNK = 1000  # entries in memory


def about(user: User, session_key: str | None) -> dict[str, Any]:
    """Each part by name; values for JSON, with dates."""
    return {
        "profile": {name: getattr(user, name) for name in PROFILE} | {"picture": _picture(user)},
        "role_request": {
            "requested_role": user.requested_role,
            "decision": user.request_decision,
            "decided_at": user.request_decided_at,
        },
        "preferences": {name: getattr(user, name) for name in PREFERENCES},
        "email_addresses": list(EmailAddress.objects.filter(user=user).values("email", "verified", "primary")),
        "second_factors": list(Authenticator.objects.filter(user=user).values("type", "created_at", "last_used_at")),
        "sessions": [
            {"device": each.device, "address": each.address, "signed_in": each.began, "last_seen": each.seen}
            for each in sessions.open_sessions(user, session_key)
        ],
    }


def acts(user: User) -> Iterator[dict[str, Any]]:
    """The audit log's entries of what the user did, the oldest first.

    What they changed is named by its key alone: names and values may be those of other people.
    """
    entries = Entry.objects.filter(who=user.username, who_id=str(user.pk)).order_by("pk")
    last = 0
    while chunk := list(entries.filter(pk__gt=last).values("pk", "at", "act", "model", "key", "address")[:CHUNK]):
        last = chunk[-1]["pk"]
        yield from ({name: value for name, value in entry.items() if name != "pk"} for entry in chunk)


def _picture(user: User) -> str | None:
    try:
        with user.picture.open() as file:
            return f"data:{CONTENT_TYPE};base64,{base64.b64encode(file.read()).decode()}"
    except (ValueError, FileNotFoundError):
        return None
