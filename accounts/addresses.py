"""The email addresses of one user: who is notified when they change, and how the owner recovers the account.

An intruder with a stolen session may add an address of their own. So each address that was verified before is notified
at once, with a link that undoes the change, and for 24 hours the new address cannot reset the password.
"""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.account.signals import email_added
from allauth.core.internal import ratelimit
from allauth.utils import build_absolute_uri
from django.core import signing
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import AddedAddress, User

WAIT = datetime.timedelta(hours=24)  # before an added address can reset the password
UNDOABLE = datetime.timedelta(days=7)  # how long the link in the email is valid
SALT = "accounts.addresses.undo"


class Undo(NamedTuple):
    """What a link undoes: everything that was added to `user` since `since`. The link was sent to `told`."""

    user: User
    told: str
    since: datetime.datetime

    @property
    def added(self) -> list[str]:
        found = AddedAddress.objects.filter(user=self.user, added_at__gte=self.since)
        return list(found.order_by("added_at").values_list("email", flat=True))


def verified(user: Any) -> list[str]:
    """All addresses that this user has verified, the primary one first."""
    addresses = EmailAddress.objects.filter(user=user, verified=True).order_by("-primary", "pk")
    return list(addresses.values_list("email", flat=True))


def resets_from(user: Any, email: str) -> datetime.datetime | None:
    """From when this address may reset the password; None if it may now."""
    added = AddedAddress.objects.filter(user=user, email__iexact=email).values_list("added_at", flat=True).first()
    return added + WAIT if added and added + WAIT > timezone.now() else None


@receiver(email_added)
def _tell(request: HttpRequest, user: Any, email_address: EmailAddress, **kwargs: Any) -> None:
    """Records when the address was added, and notifies the older ones."""
    now = timezone.now()
    AddedAddress.objects.update_or_create(user=user, email=email_address.email, defaults={"added_at": now})
    # An intruder's own address must not undo what the owner adds, so only addresses older than the link's lifetime get
    # one.
    recent = set(AddedAddress.objects.filter(user=user, added_at__gt=now - UNDOABLE).values_list("email", flat=True))
    for told in verified(user):
        context = {"added": email_address.email, "days": UNDOABLE.days}
        if told not in recent:
            token = signing.dumps([user.pk, told, now.isoformat()], salt=SALT)
            context["undo_url"] = build_absolute_uri(request, reverse("account_undo_address", args=[token]))
        get_adapter(request).notify(told, "account/email/email_added", context)


def read_undo(token: str) -> Undo | None:
    """What a token undoes; None if it is forged or too old, or nothing is left to undo."""
    try:
        pk, told, since = signing.loads(token, salt=SALT, max_age=UNDOABLE)
    except signing.BadSignature:
        return None
    user = User.objects.filter(pk=pk).first()
    what = user and Undo(user, told, datetime.datetime.fromisoformat(since))
    return what if what and what.added else None


def undo(token: str) -> Undo | None:
    """Removes the added addresses, makes `told` primary again, and ends all sessions and the password.

    None if nothing is left to undo. The owner then chooses a new password by a reset.
    """
    with transaction.atomic():
        if (what := read_undo(token)) is None:
            return None
        user = User.objects.select_for_update().get(pk=what.user.pk)
        # Nor may the account's own address be one of them afterwards: allauth would send a reset there.
        EmailAddress.objects.filter(user=user, email__in=what.added).delete()
        AddedAddress.objects.filter(user=user, added_at__gte=what.since).delete()
        EmailAddress.objects.filter(user=user).update(primary=False)
        if _take_from_others(what.told, user):
            EmailAddress.objects.update_or_create(
                user=user, email=what.told, defaults={"verified": True, "primary": True}
            )
            user.email = what.told
        else:
            left = EmailAddress.objects.filter(user=user, verified=True).order_by("pk").first()
            if left:
                left.primary = True
                left.save()
            user.email = left.email if left else ""
        user.set_unusable_password()
        user.save()
    return what


def _take_from_others(email: str, user: User) -> bool:
    """Takes the address from accounts that claim it without having verified it. False if one has.

    Otherwise an intruder who removed the address could register another account with it, and the owner's undo could not
    restore it.
    """
    if EmailAddress.objects.filter(email=email, verified=True).exclude(user=user).exists():
        return False
    EmailAddress.objects.filter(email=email).exclude(user=user).delete()
    for other in User.objects.filter(email=email).exclude(pk=user.pk):
        other.email = ""
        other.save(update_fields=["email"])
    return True


def forget_mails_to(request: HttpRequest, email: str) -> None:
    """Resets the count of emails to this address: its owner acts, and an attacker's flood must not delay theirs."""
    ratelimit.clear(request, app="allauth.account", action="mail_to", key=email.lower())
