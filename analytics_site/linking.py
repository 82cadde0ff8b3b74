"""Linking a customer record to the login of the person who may see it, and removing the link.

Only staff link. Both rows are locked, the user's first, so that of two members of staff who act at once the second is
told what the first has done.
"""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import mails
from accounts.models import User
from analytics_site.waiting import count_again
from audit.log import record
from finance.models import Customer

ACTS = {"link": gettext_lazy("Linked"), "unlink": gettext_lazy("Unlinked")}


class NotDone(Exception):
    """Nothing was changed. The text says why, for the user."""


@transaction.atomic
def link(person: User, key: str, by: HttpRequest) -> Customer:
    """Lets the person see the customer record with this key, and emails them after the commit."""
    person, customer = _locked(person, key)
    if customer is None:
        raise NotDone(_("Nothing was linked: this record does not exist any more."))
    if customer.user_id == person.pk:
        raise NotDone(_("Nothing was changed: this record is already linked to this login."))
    if customer.user_id is not None:
        raise NotDone(_("Nothing was linked: this record has been linked to another login."))
    if Customer.objects.filter(user=person).exists():
        raise NotDone(_("Nothing was linked: another record has been linked to this login."))
    _set(customer, person, "link", by, person)
    return customer


@transaction.atomic
def unlink(person: User, key: str, by: HttpRequest) -> Customer:
    """Removes the link, so that the person sees no records any more, and emails them after the commit."""
    person, customer = _locked(person, key)
    if customer is None or customer.user_id != person.pk:
        raise NotDone(_("Nothing was changed: this record is not linked to this login any more."))
    _set(customer, None, "unlink", by, person)
    return customer


def _locked(person: User, key: str) -> tuple[User, Customer | None]:
    locked = get_object_or_404(User.objects.select_for_update(), pk=person.pk)
    return locked, Customer.objects.select_for_update().filter(pk=key).first()


def _set(customer: Customer, user: User | None, act: str, by: HttpRequest, person: User) -> None:
    before, after = ({"user": each and each.pk, "login": each and each.username} for each in (customer.user, user))
    customer.user = user
    customer.save(update_fields=["user"])
    record(by, act, customer, before, after)
    transaction.on_commit(partial(_tell, person, act, by))


def _tell(person: User, act: str, by: HttpRequest) -> None:
    count_again()
    if person.email:
        mails.send(f"account/email/records_{act}ed", person.email, {}, by)
