"""Every address of the portal, and a small world for testing them: a user of each kind and a row of each model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.mfa.webauthn.internal.auth import WebAuthn
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import transaction
from django.db.models import QuerySet
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import Role, User
from accounts.tests.software_passkey import SoftwarePasskey
from audit.models import Act, Entry
from examples.news.models import Story
from examples.retail.models import Sale
from examples.shop.models import Buyer, Category, Order, Product, Tag
from finance import report_cache
from finance.models import Account, CachedReport, SavedView, Transaction
from finance.tests.people import DAY, customer
from sync.jobs.models import Job
from sync.outbox.models import Change
from sync.workers.models import Checkpoint

PASSWORD = "correct-horse-7"
KINDS = ("customer", "technical_worker", "senior_management", "staff", "superuser")
NO_TRADES = {"customers": 0, "accounts": 0, "buckets": 0} | dict.fromkeys(
    ("symbols", "products", "tiers", "held", "tiered"), ()
)
NEVER = datetime(2999, 1, 1, tzinfo=UTC)


def patterns(
    resolver: URLResolver | None = None, route: str = "", namespace: str = ""
) -> Iterator[tuple[str, str, URLPattern]]:
    """(name with namespaces, route, pattern) of every address. An unnamed address has an empty name."""
    for each in (resolver or get_resolver()).url_patterns:
        here = route + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from patterns(each, here, f"{namespace}{each.namespace}:" if each.namespace else namespace)
        else:
            yield (f"{namespace}{each.name}" if each.name else ""), here, each


@dataclass
class World:
    """people and clients: by kind, logged in. own: the customer's records. others: those of another customer."""

    people: dict[str, User] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    rows: dict[type, Any] = field(default_factory=dict)
    passkey: Authenticator | None = None  # the superuser's

    def address(self, name: str, *, others: bool = False) -> str | None:
        """The address of a page with its record. With `others`, None for a page that is not about a record."""
        records = self.others if others else self.own
        arguments = {
            "person": [self.people["customer"].pk],
            "finance:totals_chart": ["value"],
            "finance:remove_view": [self.rows[SavedView].pk],
            "finance:customer_trades": [records["customer"].pk],
            "finance:customer_chart": [records["customer"].pk, "value"],
            "sync:act": ["finance.account", "verify"],
            "sync:repair": ["finance.account"],
            "sync:route_act": [self.rows[Checkpoint].pk, "pause"],
            "sync:stop": [self.rows[Job].pk],
            "sync:record": ["finance.account", records["account"].pk],
            "mfa_edit_webauthn": [self.passkey.pk if self.passkey else 0],
            "mfa_remove_webauthn": [self.passkey.pk if self.passkey else 0],
            "account_confirm_email": ["a-key-of-nobody"],
            "account_undo_address": ["a-token-of-nobody"],
            "account_reset_password_from_key": ["1", "a-key-of-nobody"],
        }
        of_record = {
            f"finance:{kind}_{page}": [record.pk]
            for kind, record in records.items()
            for page in ("detail", "edit", "delete")
        }
        arguments |= of_record
        if others and name not in of_record and not name.startswith(("finance:customer_trades", "finance:customer_ch")):
            return None
        return reverse(name, args=arguments.get(name, []))

    def addresses(self) -> dict[str, str]:
        """The address of every page by route, including the admin's. Pages about a record use the customer's own."""
        return {
            route: self.admin_address(name, route) if route.startswith("admin/") else str(self.address(name))
            for name, route, _pattern in patterns()
        }

    def admin_address(self, name: str, route: str) -> str:
        for model, row in self.rows.items():
            if model in admin.site._registry and f"/{model._meta.app_label}/{model._meta.model_name}/" in route:
                return "/" + route.replace("<path:object_id>", str(row.pk)).replace("<id>", str(row.pk))
        fixed = {
            "admin:view_on_site": f"r/{ContentType.objects.get_for_model(Account).pk}/{self.own['account'].pk}/",
            "admin:app_list": "finance/",
            "admin:autocomplete": "autocomplete/?app_label=finance&model_name=customer&field_name=user",
            "": "nowhere/" if "<url>" in route else route.removeprefix("admin/"),
        }
        return "/admin/" + fixed.get(name, route.removeprefix("admin/"))


@contextmanager
def world() -> Iterator[World]:
    """A world that is rolled back afterwards. Nothing is committed, so nothing reaches MongoDB."""
    cache.clear()
    with transaction.atomic():
        yield make()
        transaction.set_rollback(True)
    cache.clear()


@contextmanager
def undone(client: Client) -> Iterator[None]:
    """Rolls back what is sent inside the block, and restores the client's session."""
    cookies = copy.copy(client.cookies)
    with transaction.atomic():
        point = transaction.savepoint()
        yield
        transaction.savepoint_rollback(point)
    client.cookies = cookies
    cache.clear()


def make() -> World:
    """Creates a world, for a test that rolls back itself or empties the tables."""
    made = World()
    for kind in KINDS:
        rights = {"is_staff": kind in ("staff", "superuser"), "is_superuser": kind == "superuser"}
        role = kind if kind in Role.values else ""
        user = User.objects.create_user(kind, f"{kind}@example.com", PASSWORD, role=role, **rights)
        made.rows[EmailAddress] = EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        made.people[kind], made.clients[kind] = user, Client()
    TOTP.activate(made.people["superuser"], generate_totp_secret())
    codes = RecoveryCodes.activate(made.people["superuser"]).get_unused_codes()
    registration = SoftwarePasskey().registration("challenge-of-nobody-")
    made.passkey = WebAuthn.add(made.people["superuser"], "Laptop", registration).instance
    for kind, client in made.clients.items():
        client.post("/login/", {"login": kind, "password": PASSWORD})
    made.clients["superuser"].post("/two-factor/authenticate/", {"code": codes[0]})
    for client in made.clients.values():  # else the second factor's pages would only ask for the password
        client.post("/reauthenticate/", {"password": PASSWORD})
    for records, name, numbers, user in (
        (made.own, "Own", [1, 2], made.people["customer"]),
        (made.others, "Other", [3], None),
    ):
        records["customer"] = customer(name, numbers, linked=user)
        records["account"] = Account.objects.get(account_id=numbers[0])
        records["transaction"] = Transaction.objects.get(account_id=numbers[0])
    CachedReport.objects.create(key=report_cache.TOTALS, data=NO_TRADES, as_of=DAY, due_at=NEVER, asked_at=DAY)
    Entry.objects.create(who="ada", act=Act.CHANGE, model="finance.account", key="1", text="One.")
    sale = {"storeLocation": "Leeds", "purchaseMethod": "Phone", "couponUsed": False, "items": [], "customer": {}}
    made.rows |= {
        User: made.people["customer"],
        Group: Group.objects.create(name="clerks"),
        Authenticator: Authenticator.objects.get(type="totp"),
        SavedView: SavedView.objects.create(user=made.people["senior_management"], name="2016", query="first=2016-01"),
        Job: Job.objects.create(model="finance.account", kind="verify"),
        Checkpoint: Checkpoint.objects.create(name="pull:retail.sale"),
        Change: Change.objects.first(),
        **{type(record): record for record in made.own.values()},
        Sale: QuerySet(Sale).bulk_create([Sale(saleDate=DAY, total=Decimal(1), **sale)])[0],  # as `sync pull` does
        Story: Story.objects.create(title="News", submit_date=0, story_id="1"),
        Tag: Tag.objects.create(name="gift"),
        **shop(),
    }
    return made


def shop() -> dict[type, Any]:
    """An order of one product, by model."""
    category = Category.objects.create(name="Office")
    product = Product.objects.create(name="Notebook", price=Decimal("7.50"), category=category)
    buyer = Buyer.objects.create(name="Ada", email="ada@example.com")
    order = Order.objects.create(buyer=buyer, ship_to="1 Road", placed_at=DAY)
    order.lines.create(product=product, quantity=1, price=product.price)
    return {type(row): row for row in (category, product, buyer, order)}
