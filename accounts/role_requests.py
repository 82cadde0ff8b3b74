"""Approving and declining role requests."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from accounts import mails
from accounts.models import Decision, User
from audit.log import record
from audit.models import Act

ACTS = {Decision.APPROVED: Act.APPROVE, Decision.DECLINED: Act.DECLINE}
DECIDED = ("role", "request_decision")


@transaction.atomic
def decide(user: User, decision: Decision, by: HttpRequest | None = None) -> bool:
    """Decides the user's request and emails them after the commit. False if it was decided before.

    by: the request of the deciding user, for the audit log.
    """
    before = {name: getattr(user, name) for name in DECIDED}
    changes: dict[str, Any] = {"request_decision": decision, "request_decided_at": timezone.now()}
    if decision == Decision.APPROVED:
        changes["role"] = F("requested_role")
    if not User.pending_requests().filter(pk=user.pk).update(**changes):
        return False
    user.refresh_from_db()
    record(by, ACTS[decision], user, before, {name: getattr(user, name) for name in DECIDED})
    if user.email:
        context = {"person": user}
        transaction.on_commit(partial(mails.send, "accounts/email/request_decided", user.email, context, by))
    return True
