"""Every form, sent with every column of every model, changes only the fields that it shows.

The test finds the forms in the pages and the columns in the models, so new ones are included.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group
from django.db import models

from accounts.models import User
from finance.models import Transaction
from finance.record_types import RECORD_TYPES
from tests.browser_forms import Form, filled, forms
from tests.world import World, patterns, undone

pytestmark = pytest.mark.django_db

MODELS: list[type[models.Model]] = [
    User, Group, EmailAddress, Authenticator, *(kind.model for kind in RECORD_TYPES),
    User.groups.through, User.user_permissions.through, Group.permissions.through,
]  # fmt: skip
FORGED = "zqforged"
ROUTES = {route: name for name, route, _pattern in patterns()}
LEAVES = ("logout", "password/reset", "register")
POWER = {"role", "is_staff", "is_superuser", "is_active", "is_demo", "username", "password"}
ACCEPTED = {"customer": 2, "technical_worker": 14, "senior_management": 2, "staff": 2, "superuser": 30}
# What the portal itself writes when a form is sent, by model.
DERIVED = {
    User: {
        "last_login",
        "request_decision",
        "request_decided_at",
        "requested_at",
        "date_joined",
        "deletion_requested_at",
    },
    Authenticator: {"last_used_at", "data"},
    EmailAddress: {"verified", "primary"},
    Transaction: {"transaction_count", "bucket_start_date", "bucket_end_date"},
}
# Form fields whose columns have other names.
STANDS_FOR = {
    "accounts": {"account_id"}, "decision": {"role", "requested_role"}, "password1": {"password"},
    "password2": {"password"}, "new_password1": {"password"}, "oldpassword": {"password"},
    "usable_password": {"password"}, "tiers": {"tier_and_details"}, "trades": {"transactions"},
}  # fmt: skip


def columns() -> dict[str, Any]:
    """A forged value for every column of every model, under each name that a form could use."""
    sent: dict[str, Any] = {}
    for model in MODELS:
        for field in [*model._meta.concrete_fields, *model._meta.many_to_many]:
            sent[field.name] = sent[getattr(field, "attname", field.name)] = forged(field)
    return sent | {"pk": "1", "DELETE": "on"}


def forged(field: Any) -> Any:
    if field.name == "role" or field.name == "requested_role":
        return "senior_management"
    if isinstance(field, models.BooleanField):
        return "on"
    if isinstance(field, (models.DateField, models.DateTimeField)):
        return "1999-01-01"
    if isinstance(field, (models.ForeignKey, models.ManyToManyField)):
        return "1"
    if isinstance(field, (models.IntegerField, models.DecimalField)):
        return "987654"
    return FORGED


def is_forged(value: Any) -> bool:
    return str(value).startswith((FORGED, "987654", "senior_management", "1999-01-01"))


def rows() -> dict[tuple[type[models.Model], Any], dict[str, Any]]:
    return {(model, row["pk"]): row for model in MODELS for row in model._default_manager.values("pk", *names(model))}


def names(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def changed(before: dict[Any, dict[str, Any]]) -> Iterator[tuple[type[models.Model], str, Any]]:
    """(model, column, value) for each difference from before; for a new row, each column with a forged value."""
    for (model, pk), row in rows().items():
        old = before.get((model, pk))
        for name, value in row.items():
            if name == "pk" or value is None:  # a deletion sets references to its row to NULL
                continue
            if old is None and not is_forged(value):
                continue
            if old is None or old[name] != value:
                yield model, name, value


def shown_by(form: Form) -> set[str]:
    shown = {part for name in form.names for part in (name, f"{name}_id", name.rpartition("-")[2])}
    return shown | {column for name in shown & STANDS_FOR.keys() for column in STANDS_FOR[name]}


@pytest.mark.parametrize("who", ["customer", "technical_worker", "senior_management", "staff", "superuser"])
def test_a_form_changes_nothing_but_its_own_fields(made: World, covered: dict[str, set[str]], who: str) -> None:
    client, everything = made.clients[who], columns()
    before = rows()
    accepted = set()
    for route, address in made.addresses().items():
        if any(word in route for word in LEAVES):
            continue
        page = client.get(address)
        if page.status_code != 200 or page.streaming or not page.headers["Content-Type"].startswith("text/html"):
            continue
        covered["roles"].add(who)
        for number, form in enumerate(forms(page.content.decode())):
            if form.method != "post" or any(word in form.action for word in LEAVES):
                continue
            shown = shown_by(form)
            extra = {name: value for name, value in everything.items() if name not in shown}
            covered["forms"].add(f"{route} {number}")
            covered["fields"].update(f"{model._meta.label}.{name}" for model in MODELS for name in names(model))
            with undone(client):
                if client.post(form.action or address, filled(form) | extra).status_code == 302:
                    accepted.add(route)
                found = list(changed(before))
            for model, name, value in found:
                derived = name in DERIVED.get(model, set()) and not is_forged(value)
                powerful = (model is User and name in POWER) or name == "user_id"
                assert who == "superuser" or not powerful, (who, route, name, value)
                assert name in shown or derived, (who, route, model._meta.label, name, value)
    assert len(accepted) >= ACCEPTED[who], "too few forms were accepted: a form that rejects everything proves nothing"


def test_no_address_accepts_fields_that_it_does_not_show(made: World, covered: dict[str, set[str]]) -> None:
    """Every column is also sent to addresses that show the user no form."""
    everything = columns()
    for who in ("customer", "technical_worker", "senior_management", "staff"):
        before = rows()
        for route, address in made.addresses().items():
            if "logout" in route:
                continue
            covered["addresses"].add(route)
            page = made.clients[who].get(address)
            if page.status_code == 200 and page.headers["Content-Type"].startswith("text/html") and not page.streaming:
                continue  # the test above covers forms
            with undone(made.clients[who]):
                made.clients[who].post(address, everything | {"version": "1", "action": "approve_requests"})
                found = [each for each in changed(before) if each[1] not in DERIVED.get(each[0], set())]
            assert found == [], (who, route)


def test_a_forged_change_would_be_detected(made: World) -> None:
    before = rows()
    person = made.people["customer"]
    User.objects.filter(pk=person.pk).update(is_staff=True, address=FORGED)
    assert {name for _model, name, _value in changed(before)} == {"is_staff", "address"}
    Group.objects.create(name=FORGED)
    assert (Group, "name", FORGED) in set(changed(before))
    assert datetime.date(1999, 1, 1).isoformat() == columns()["birthdate"]
