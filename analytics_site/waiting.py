"""Who waits for staff: users with an undecided role request, and customers without a linked record.

What a member of staff sees depends on what they may do about it: decide requests, link records, or both. Other users
see nothing, whatever else they may do.
"""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.db.models import Count, Q, QuerySet

from accounts.models import PENDING, Role, User

DECIDE, LINK = "accounts.decide_requests", "finance.change_customer"
UNLINKED = Q(role=Role.CUSTOMER, customer=None)
LINKED = Q(customer__isnull=False)
COUNTS, SECONDS = "people.waiting", 15  # the cache key of how many wait, and for how long it is not counted again


def may_decide(user: Any) -> bool:
    return user.is_staff and user.has_perm(DECIDE)


def may_link(user: Any) -> bool:
    return user.is_staff and user.has_perm(LINK)


def people_for(staff: Any) -> QuerySet[User]:
    """The active users whom this member of staff may see: those with a request, and those with a record or without."""
    shown = Q(pk__in=[])
    if may_decide(staff):
        shown |= ~Q(requested_role="")
    if may_link(staff):
        shown |= UNLINKED | LINKED
    return User.objects.filter(shown, is_active=True)


def waits_for(staff: Any) -> Q:
    """Of these users, those who wait for something that this member of staff may do."""
    waits = Q(pk__in=[])
    if may_decide(staff):
        waits |= PENDING
    if may_link(staff):
        waits |= UNLINKED
    return waits


def waiting_count(user: Any) -> int:
    """How many users wait for this one. Counted at most every SECONDS."""
    decides, links = may_decide(user), may_link(user)
    if not decides and not links:
        return 0
    counts = cache.get_or_set(COUNTS, _counts, SECONDS) or {}
    return counts.get("all" if decides and links else "requests" if decides else "unlinked", 0)


def count_again() -> None:
    """After a user has registered, or got what they waited for."""
    cache.delete(COUNTS)


def _counts() -> dict[str, int]:
    return User.objects.filter(is_active=True).aggregate(
        requests=Count("pk", filter=PENDING),
        unlinked=Count("pk", filter=UNLINKED),
        all=Count("pk", filter=PENDING | UNLINKED),
    )
