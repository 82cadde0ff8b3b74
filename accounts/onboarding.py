"""The steps from a registration to a user's dashboard, and which of them are done."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from django.utils.translation import gettext as _

from accounts.models import Decision, User

SEES_OWN_RECORDS = "finance.view_own"


@dataclass(frozen=True)
class Step:
    """since: when it was done, or from when it waits; None if that is not known."""

    title: str
    state: Literal["done", "waiting", "declined"]
    since: datetime.datetime | None
    text: str


def steps_of(user: User) -> list[Step]:
    """The steps of a user who has no dashboard, or only an empty one."""
    registered = Step(_("Registered"), "done", user.date_joined, _("You sign in as %s.") % user.username)
    return [registered, *([_request(user)] if user.requested_role else []), _last(user)]


def _request(user: User) -> Step:
    role, decided = user.get_requested_role_display(), user.request_decided_at
    if user.request_decision == Decision.APPROVED:
        return Step(_("Approved"), "done", decided, _("Staff approved your request for the role %s.") % role)
    if user.request_decision == Decision.DECLINED:
        text = _("Staff declined your request for the role %s. Your account stays unchanged.") % role
        return Step(_("Not approved"), "declined", decided, text)
    text = _("You requested the role %s. Staff will email you their decision.")
    return Step(_("Approved"), "waiting", user.date_joined, text % role)


def _last(user: User) -> Step:
    if not user.has_perm(SEES_OWN_RECORDS):
        text = _("Staff assign a role to your account. Your dashboard then appears here.")
        return Step(_("Role assigned"), "waiting", user.date_joined, text)
    text = _(
        "Staff link your customer record to this login and email you. Your accounts, tiers and trades then appear "
        "here. For your security, a matching name or email address is not enough."
    )
    if user.requested_role and user.request_decision != Decision.DECLINED:
        text = _("You need this only if you are also a customer.") + " " + text
    return Step(_("Linked to your records"), "waiting", user.date_joined, text)
