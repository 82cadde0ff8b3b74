"""The pages on which staff decide role requests and link customers to their records."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import PENDING, Decision, User
from accounts.role_requests import decide
from analytics_site import linking
from analytics_site.waiting import LINKED, UNLINKED, count_again, may_decide, may_link, people_for, waits_for
from finance.models import Customer
from finance.searching import matching, with_email

PER_PAGE = 25
LISTED = 1000  # people, at most: nobody turns more pages, and counting all of them takes longer than showing a page
FOUND = 10  # records that a search on a person's page shows
MOST = 8  # words of a search for people that are compared
DECISIONS = {"approve": Decision.APPROVED, "decline": Decision.DECLINED}
LINKS = {"link": linking.link, "unlink": linking.unlink}
View = Callable[..., HttpResponse]


def for_staff(view: View) -> View:
    """For staff who may decide requests or link records. Others get 403, and anonymous visitors the login page."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not (may_decide(request.user) or may_link(request.user)):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return checked


class PeopleForm(forms.Form):
    """The search above the list of people."""

    q = forms.CharField(
        label=gettext_lazy("Name, username or email"), max_length=200, required=False,
        help_text=gettext_lazy("The start of any of these."),
    )  # fmt: skip

    def __init__(self, data: Any, staff: Any) -> None:
        super().__init__(data)
        self.waits = waits_for(staff)
        choices = [("", _("All who wait"))]
        if may_decide(staff):
            choices.append(("requests", _("Role requests to decide")))
        if may_link(staff):
            choices += [("unlinked", _("Customers without a record")), ("linked", _("People with a record"))]
        self.fields["show"] = forms.ChoiceField(label=_("Show"), required=False, choices=choices)

    def apply(self, people: QuerySet[User]) -> QuerySet[User]:
        """The people who are found, of whom the first has waited longest. None, if a field has an error."""
        if not self.is_valid():
            return people.none()
        shown = {"requests": PENDING, "unlinked": UNLINKED, "linked": LINKED}
        found = shown.get(self.cleaned_data["show"], self.waits)
        for word in self.cleaned_data["q"].split()[:MOST]:
            found &= (
                Q(username__istartswith=word) | Q(email__istartswith=word)
                | Q(first_name__istartswith=word) | Q(last_name__istartswith=word)
            )  # fmt: skip
        return people.filter(found).order_by("date_joined", "pk")


class Listed(Paginator):
    """Pages of the first LISTED people."""

    @cached_property
    def count(self) -> int:
        people: Any = self.object_list
        return people.order_by().values("pk")[:LISTED].count()  # without an order, it can end early


@require_safe
@for_staff
@never_cache
def people(request: HttpRequest) -> HttpResponse:
    form = PeopleForm(request.GET, request.user)
    page = Listed(form.apply(_described(people_for(request.user))), PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "form": form, "page": page, "is_cut": page.paginator.count == LISTED, "listed": LISTED,
        "may_decide": may_decide(request.user), "may_link": may_link(request.user),
    }  # fmt: skip
    return render(request, "people/people.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_staff
@reauthentication_required(allow_get=True)
@never_cache
def person(request: HttpRequest, pk: int) -> HttpResponse:
    """A person's request and record, and what this member of staff may do about them."""
    someone = get_object_or_404(_described(people_for(request.user)), pk=pk)
    if request.method == "POST":
        if someone.pk == request.user.pk:
            raise PermissionDenied
        _act(request, someone)
        is_shown = people_for(request.user).filter(pk=pk).exists()
        return redirect("person", pk) if is_shown else redirect("people")
    links = may_link(request.user)
    context = {
        "person": someone,
        "is_self": someone.pk == request.user.pk,
        "may_decide": may_decide(request.user),
        "may_link": links,
        **(_records(request, someone) if links else {}),
    }
    return render(request, "people/person.html", context)


def _described(users: QuerySet[User]) -> QuerySet[User]:
    """With `is_verified`, whether they have confirmed the address, and `is_linked`."""
    confirmed = EmailAddress.objects.filter(user=OuterRef("pk"), email=OuterRef("email"), verified=True)
    linked = Customer.objects.filter(user=OuterRef("pk"))
    return users.annotate(is_verified=Exists(confirmed), is_linked=Exists(linked))


def _records(request: HttpRequest, someone: User) -> dict[str, Any]:
    """The person's record; if they have none, those with the same email address, and those that a search finds."""
    records = (
        Customer.objects.select_related("user").defer("tier_and_details", "extra", "address").order_by("name", "pk")
    )
    if someone.is_linked:  # type: ignore[attr-defined]
        return {"record": records.filter(user=someone).first()}
    text = request.GET.get("q", "")[:200]
    found = list(records.filter(matching(text))[: FOUND + 1]) if text.strip() else []
    return {
        "q": text,
        "found": found[:FOUND],
        "has_more": len(found) > FOUND,
        "suggested": list(records.filter(with_email(someone.email))[:FOUND]),
    }


def _act(request: HttpRequest, someone: User) -> None:
    act = request.POST.get("act")
    if act in DECISIONS:
        if not may_decide(request.user):
            raise PermissionDenied
        _decide(request, someone, DECISIONS[act])
    elif act in LINKS:
        if not may_link(request.user):
            raise PermissionDenied
        try:
            record = LINKS[act](someone, request.POST.get("customer", ""), request)
        except linking.NotDone as reason:
            messages.warning(request, str(reason))
        else:
            done = _("Linked: %s. The person was emailed.") if act == "link" else _("No longer linked: %s.")
            messages.success(request, done % record)
    else:
        raise BadRequest("There is no such act.")


def _decide(request: HttpRequest, someone: User, decision: Decision) -> None:
    if decide(someone, decision, request):
        count_again()
        messages.success(request, _("%s. The person was emailed.") % decision.label)
        return
    someone.refresh_from_db(fields=["request_decision"])
    problem = _("Nothing was changed: this request was already decided (%s).")
    messages.warning(request, problem % someone.get_request_decision_display())
