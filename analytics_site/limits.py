"""Every rate limit of the portal in one table, which settings, middleware, docs and tests use.

allauth counts all of them in the cache. Under a key for the user or address it keeps the times of the last attempts,
and changes them only while it holds a lock, which it takes with `cache.add`. So a limit is exact if the cache's `add`
is atomic for all threads and processes; `check --deploy` refuses caches whose `add` is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ADDRESS: Literal["ip"] = "ip"  # the client's network address, as reported by TRUSTED_PROXIES
SIGNED_IN: Literal["user"] = "user"  # the signed-in user
TARGET: Literal["key"] = "key"  # the user or email address that a request is about, whichever client sends it


@dataclass(frozen=True)
class Limit:
    """At most `amount` times in `seconds`, in every window of that length."""

    what: str  # is counted, in words
    action: str  # allauth's name for it
    per: Literal["ip", "user", "key"]
    who: str  # is counted, in words
    amount: int
    seconds: int

    @property
    def rate(self) -> str:
        return f"{self.amount}/{self.seconds}s/{self.per}"


POLICY = (
    Limit("Logins", "login", ADDRESS, "network address", 30, 60),
    Limit("Logins with a passkey", "webauthn_login", ADDRESS, "network address", 10, 60),
    Limit("Failed logins, wrong codes", "login_failed", ADDRESS, "network address", 10, 60),
    # A user has one counter, whether the username or an email address is typed.
    Limit("Failed logins", "login_failed", TARGET, "person", 5, 300),
    Limit("Wrong codes of the second factor", "login_failed", TARGET, "person", 5, 300),
    Limit("Registrations", "signup", ADDRESS, "network address", 20, 60),
    Limit("Requests for a password reset", "reset_password", ADDRESS, "network address", 20, 60),
    Limit("Requests for a password reset", "reset_password", TARGET, "email address", 5, 60),
    Limit("New passwords by a reset link", "reset_password_from_key", ADDRESS, "network address", 20, 60),
    Limit("Mails that confirm an address", "confirm_email", TARGET, "email address", 1, 180),
    Limit("Mails that strangers can cause", "mail_to", TARGET, "email address", 6, 3600),
    Limit("Password changes", "change_password", SIGNED_IN, "person", 5, 60),
    Limit("Changes of email addresses", "manage_email", SIGNED_IN, "person", 10, 60),
    Limit("Confirmations of one's identity", "reauthenticate", SIGNED_IN, "person", 10, 60),
    Limit("Downloads of one's data", "my_data", SIGNED_IN, "person", 10, 3600),
    Limit("Requests to delete one's account", "delete_account", SIGNED_IN, "person", 10, 3600),
    Limit("Exports", "export", SIGNED_IN, "person", 30, 60),
)


def rates() -> dict[str, str]:
    """The table in the form of allauth's settings ACCOUNT_RATE_LIMITS and MFA_RATE_LIMITS: the rates of each action."""
    actions = dict.fromkeys(limit.action for limit in POLICY)
    return {
        action: ",".join(dict.fromkeys(limit.rate for limit in POLICY if limit.action == action)) for action in actions
    }
