"""Approving and declining role requests."""

from __future__ import annotations

import logging
from functools import partial
from smtplib import SMTPException
from typing import Any

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts.models import Decision, User
from audit.log import record
from audit.models import Act

logger = logging.getLogger(__name__)

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
    transaction.on_commit(partial(_tell, user))
    return True


def _tell(user: User) -> None:
    if not user.email:
        return
    with translation.override(user.mail_language):
        subject = _("Your request for the role %s") % user.get_requested_role_display()
        message = render_to_string("accounts/email/request_decided.txt", {"person": user})
    try:
        user.email_user(subject, message)
    except (OSError, SMTPException):
        # The decision stands, and the user sees it on their profile.
        logger.exception("The email about a decided request could not be sent")
