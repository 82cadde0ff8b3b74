"""Sessions in the database, each with its user: so that users see where they are signed in, and sign out elsewhere.

settings.SESSION_ENGINE names this module. What the page shows of a session is in the session itself, and
SessionLimitsMiddleware keeps it: a session that has ended is not listed, and one whose key changes stays listed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.devices import in_words

if TYPE_CHECKING:
    from accounts.models import User

# Keys of the data: the times of the login and of the user's last request, and where that one came from.
BEGAN, SEEN, ADDRESS, AGENT = "began", "seen", "address", "agent"
LONGEST_AGENT = 300


class SessionStore(DatabaseStore):
    @classmethod
    def get_model_class(cls) -> Any:
        from accounts.models import Session  # which needs the apps to be loaded

        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        row: Any = super().create_model_instance(data)
        row.user_id = data.get(SESSION_KEY)
        return row


def is_over(session: SessionBase | Mapping[str, Any]) -> bool:
    """Whether it is SESSION_IDLE seconds after the last request, or SESSION_LONGEST seconds after the login."""
    now = time.time()
    is_idle = now - session.get(SEEN, 0) > settings.SESSION_IDLE
    return is_idle or now - session.get(BEGAN, 0) > settings.SESSION_LONGEST


@dataclass(frozen=True)
class OpenSession:
    """A session that would be accepted now. name: identifies it on pages, without its key, which is the secret."""

    name: str
    device: str
    address: str | None
    began: datetime
    seen: datetime
    is_current: bool


def open_sessions(user: User, current: str | None) -> list[OpenSession]:
    """The user's sessions, that with the key `current` first, and then the last used ones."""
    # A changed password ends sessions by this hash, at their next request.
    hashes = {user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()}
    rows = SessionStore.get_model_class().objects.filter(user=user, expire_date__gt=timezone.now())
    found = [(row.pk, row.get_decoded()) for row in rows]
    listed = [
        OpenSession(
            name=_name(key),
            device=in_words(data.get(AGENT, "")),
            address=data.get(ADDRESS),
            began=datetime.fromtimestamp(data[BEGAN], UTC),
            seen=datetime.fromtimestamp(data[SEEN], UTC),
            is_current=key == current,
        )
        for key, data in found
        if data.get(HASH_SESSION_KEY) in hashes and not is_over(data)
    ]
    return sorted(listed, key=lambda each: (each.is_current, each.seen), reverse=True)


def end(user: User, name: str, current: str | None) -> bool:
    """Ends another session of the user. False if there is none of that name."""
    others = _others(user, current)
    keys = [key for key in others.values_list("pk", flat=True) if _name(key) == name]
    return bool(others.filter(pk__in=keys).delete()[0])


def end_others(user: User, current: str | None) -> None:
    """Ends all sessions of the user except the one with the key `current`."""
    _others(user, current).delete()


def _others(user: User, current: str | None) -> Any:
    return SessionStore.get_model_class().objects.filter(user=user).exclude(pk=current)


def _name(key: str) -> str:
    return salted_hmac("accounts.sessions", key, algorithm="sha256").hexdigest()[:24]
