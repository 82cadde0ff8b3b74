"""Emails staff about each registration, because the person waits for them.

The email has no name and no address of the person: anybody can type these. It links to the page that shows them.
"""

from __future__ import annotations

import logging
from typing import Any

from allauth.core.internal import ratelimit
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import translation

from accounts import mails
from accounts.models import User
from analytics_site.waiting import count_again, may_decide

logger = logging.getLogger(__name__)


def announce(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    """Receives `user_signed_up`. Whatever goes wrong, the registration succeeds, and Django logs the error.

    It logs the name of the function, which a partial does not have.
    """
    transaction.on_commit(lambda: _tell_staff(request, user), robust=True)


def _tell_staff(request: HttpRequest, user: User) -> None:
    count_again()
    # A stranger who registers again and again causes no more emails than to anybody else. The bell counts them all.
    if not ratelimit.consume(request, app="allauth.account", action="mail_to", key="staff", limit_get=True):
        logger.warning("Staff were not emailed about a registration: they have reached the limit")
        return
    context = {"person": user, "person_url": request.build_absolute_uri(reverse("person", args=[user.pk]))}
    with translation.override(settings.LANGUAGE_CODE):  # the page's language is that of the person who registered
        readers = [to.email for to in deciders() if to.email]
        mails.send_all([mails.compose("account/email/person_waits", to, context, request) for to in readers])


def deciders() -> list[User]:
    """The members of staff who decide role requests."""
    staff = User.objects.filter(is_staff=True, is_active=True).order_by("pk")
    return [each for each in staff if each.may_log_in and may_decide(each)]
