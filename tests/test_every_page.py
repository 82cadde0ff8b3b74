"""What holds on every page, whichever it is: headers, hostile searches and forms, CSV that computes nothing."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils.http import urlencode

from accounts.models import User
from accounts.tests.test_pages import INLINE
from audit.models import Entry
from finance.models import Account, Customer, Transaction
from tests.world import World, patterns

pytestmark = pytest.mark.django_db

ROUTES = {route: name for name, route, _pattern in patterns()}
POWER = ("role", "is_staff", "is_superuser", "is_active", "requested_role", "request_decision", "is_demo", "username")


@pytest.mark.parametrize("who", ["nobody", "customer", "superuser"])
def test_every_answer_forbids_what_it_does_not_need(made: World, who: str) -> None:
    """Pages, refusals, redirects and downloads: no inline code, no frame around, no guessing of types, no copy kept."""
    client = Client() if who == "nobody" else made.clients[who]
    seen = 0
    for route, address in made.addresses().items():
        answer: Any = client.get(address)
        policy = answer.headers["Content-Security-Policy"]
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives["default-src"] == directives["base-uri"] == directives["frame-ancestors"] == "'none'", route
        assert directives["script-src"] == directives["style-src"] == directives["form-action"] == "'self'", route
        assert "unsafe" not in policy, route
        assert answer.headers["X-Frame-Options"] == "DENY", route
        assert answer.headers["X-Content-Type-Options"] == "nosniff", route
        assert answer.headers["Referrer-Policy"] == "same-origin", route
        if who != "nobody" and not route.startswith(("healthz", "admin/jsi18n")):
            assert "private" in answer.headers["Cache-Control"], route
        if answer.headers["Content-Type"].startswith("text/html") and not answer.streaming:
            assert not INLINE.search(answer.content.decode()), route
            seen += answer.status_code == 200
    assert seen > 5


PARAMETERS = (
    "q", "number", "product", "limit_from", "limit_to", "since", "until", "symbol", "code", "first", "last", "page",
    "per_page", "sort", "after", "before", "who", "act", "model", "key", "below", "reason", "year", "o", "p", "e",
)  # fmt: skip
SEARCHED = re.compile(
    r"_(list|export|dashboard|detail|trades|chart|changelist)$|^(sync|audit|retail):(?!order|stop|act)"
)
HOSTILE = [
    '{"$ne": null}', '{"$where": "sleep(5000)"}', "$where", "' OR '1'='1", "1; DROP TABLE accounts_user", "\0", "%",
    "-1", "9" * 400, "NaN", "1e309", "../../etc/passwd", "<script>alert(1)</script>", "{{ 7 * 7 }}", "\ud7ff\U0001f600",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: value[:12])
def test_no_search_is_anything_but_a_search(made: World, mongo: Any, value: str) -> None:
    """MongoDB's operators, SQL, markup and nonsense in every parameter, and operators in the names of parameters."""
    query = urlencode(dict.fromkeys(PARAMETERS, value) | {f"{name}[$ne]": value for name in PARAMETERS})
    for route, address in made.addresses().items():
        if not SEARCHED.search(ROUTES[route]):
            continue
        for who in ("customer", "superuser") if ROUTES[route].startswith("finance:") else ("superuser",):
            answer: Any = made.clients[who].get(address + "?" + query)
            body = b"".join(answer.streaming_content) if answer.streaming else answer.content
            assert answer.status_code in (200, 302, 400, 403), (route, who)
            assert b"<script>alert(1)" not in body, (route, who)
            if who == "customer":
                assert b"Other" not in body, (route, "another customer's record")


def test_a_parameter_that_nobody_knows_finds_what_none_finds(made: World) -> None:
    """Neither an operator nor a lookup of the ORM in a name does anything."""
    customer = made.clients["customer"]
    for name in ("account", "customer", "transaction"):
        address = made.address(f"finance:{name}_list")
        records = [row.pk for row in customer.get(address).context["page"].records]
        for field in ("user__password__startswith", "account_id[$ne]", "$where", "user_id", "or", "id__in"):
            found = customer.get(address, {field: "1"}).context["page"].records
            assert [row.pk for row in found] == records != [], (name, field)


def test_no_form_gives_power(made: World) -> None:
    """Everybody sends every form all that would make them more, or somebody else less."""
    before = {user.pk: [getattr(user, name) for name in POWER] for user in User.objects.order_by("pk")}
    victim = made.people["superuser"]
    forged = {
        "role": "senior_management", "is_staff": "on", "is_superuser": "on", "is_active": "", "is_demo": "on",
        "requested_role": "senior_management", "request_decision": "approved", "user": made.people["customer"].pk,
        "user_id": victim.pk, "id": victim.pk, "pk": victim.pk, "username": "customer2", "groups": "1",
        "user_permissions": "1", "first_name": "X", "last_name": "Y", "address": "", "action": "approve_requests",
        "_selected_action": made.people["customer"].pk, "password1": "taken-over-99", "password2": "taken-over-99",
        "name": "Own", "email": "own@example.com", "birthdate": "1990-01-01", "accounts": "1, 2, 3", "account_id": "1",
        "limit": "5", "products": "Brokerage", "transactions": "[]", "tier_and_details": "{}", "active": "unknown",
    }  # fmt: skip
    passwords = dict(User.objects.values_list("pk", "password"))
    for who in ("customer", "technical_worker", "senior_management", "staff"):
        for route, address in made.addresses().items():
            if "logout" in route or (route.startswith("admin/") and who != "staff"):
                continue
            client, version = made.clients[who], ""
            if ROUTES[route].endswith(("_edit", "_delete")):  # these forms take nothing without the row's version
                page: Any = client.get(address)
                version = page.context["form"].initial["version"] if page.status_code == 200 else ""
            client.post(address, forged | {"version": version})
    assert {user.pk: [getattr(user, name) for name in POWER] for user in User.objects.order_by("pk")} == before
    assert not User.user_permissions.through.objects.exists()
    assert not User.groups.through.objects.exists()
    assert dict(User.objects.values_list("pk", "password")) == passwords
    assert {row.user_id for row in Customer.objects.exclude(user=None)} <= {made.people["customer"].pk}
    assert Customer.objects.filter(user=made.people["customer"]).count() <= 1


FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1")


def test_no_export_has_a_cell_that_a_spreadsheet_computes(made: World) -> None:
    exports = [route for route in ROUTES if route.endswith(".csv")]
    assert len(exports) >= 6
    for formula in FORMULAS:
        Customer.objects.update(name=formula, username=formula, email=formula[:50], address=formula)
        Account.objects.update(products=[formula, formula])
        for bucket in Transaction.objects.all():
            trades = [trade | {"symbol": formula, "transaction_code": formula} for trade in bucket.transactions]
            Transaction.objects.filter(pk=bucket.pk).update(transactions=trades)
        Entry.objects.update(
            who=formula, who_id=formula[:20], model=formula, key=formula, text=formula, after={"a": formula}
        )
        cache.clear()  # it counts exports
        for route in exports:
            answer: Any = made.clients["superuser"].get(made.addresses()[route])
            text = b"".join(answer.streaming_content).decode()
            for row in csv.reader(io.StringIO(text, newline="")):
                for cell in row:
                    is_number = re.fullmatch(r"-[\d.]+", cell)
                    assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")), (route, cell)
