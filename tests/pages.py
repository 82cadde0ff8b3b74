"""Every page of the portal, once: for the screenshots, and for the tests of readability, weight and outages.

A page that is missing here fails tests/test_pages_in_browser.py. `furnish` makes the people and the records that the
addresses name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.core import signing
from django.core.management import CommandError, call_command
from django.template.loader import render_to_string
from django.test import Client
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver
from django.utils import timezone

from accounts import addresses
from accounts.models import AddedAddress, User
from accounts.tests.support import code_of
from audit.models import Act, Entry
from finance.models import Account, Customer, Transaction
from finance.record_types import RECORD_TYPES
from sync.mongodb.client import database
from sync.outbox.models import Change
from sync.outbox.relay import Relay

PASSWORD = "correct-horse-7"
SECRET = "JBSWY3DPEHPK3PXP"  # of the staff's authenticator app
PEOPLE = {
    "customer": ("carla", "Carla", "Customer", {"role": "customer"}),
    "newcomer": ("nora", "Nora", "Newcomer", {"role": "customer", "requested_role": "technical_worker"}),
    "technician": ("theo", "Theo", "Technician", {"role": "technical_worker"}),
    "manager": ("mina", "Mina", "Manager", {"role": "senior_management"}),
    "staff": ("stella", "Stella", "Staff", {"is_staff": True, "is_superuser": True}),
}


class Page(NamedTuple):
    name: str  # of the picture, too
    who: str  # a key of PEOPLE; "anybody" is signed in as nobody
    path: str  # names in braces are those of furnish()
    shows: str  # what a reader of the index finds there
    status: int = 200
    press: str = ""  # what is clicked before one looks
    template: str = ""  # of a page that no address shows freely


# fmt: off
PAGES = [
    Page("landing", "anybody", "/", "The start page"),
    Page("login", "anybody", "/login/", "Sign in"),
    Page("login-refused", "anybody", "/login/", "Sign in, refused", press="main form button"),
    Page("register", "anybody", "/register/", "Create an account"),
    Page("email-sent", "anybody", "/email/confirm/", "The mail to confirm an address is sent"),
    Page("email-confirm", "anybody", "/email/confirm/{confirm}/", "An address is confirmed"),
    Page("email-expired", "anybody", "/email/confirm/gone/", "A link that has expired"),
    Page("email-undo", "anybody", "/email/undo/{undo}/", "An added address is removed again"),
    Page("email-undo-expired", "anybody", "/email/undo/gone/", "Nothing is left to undo", 410),
    Page("password-reset", "anybody", "/password/reset/", "A new password is asked for"),
    Page("password-reset-done", "anybody", "/password/reset/done/", "The mail for a new password is sent"),
    Page("password-reset-expired", "anybody", "/password/reset/key/1-gone/", "A link that was used or has expired"),
    Page("password-new", "anybody", "/password/reset/key/{reset}/", "The new password"),
    Page("password-new-done", "anybody", "/password/reset/key/done/", "The new password is set"),
    Page("inactive", "anybody", "/inactive/", "An account that is not active"),
    Page("help", "anybody", "/help/", "What each role can do, and what the terms mean"),
    Page("error-400", "anybody", "/400/", "A request that cannot be read", 400, template="400.html"),
    Page("error-csrf", "anybody", "/csrf/", "A form that has expired", 403, template="403_csrf.html"),
    Page("error-404", "anybody", "/nowhere/", "No such page", 404),
    Page("error-409", "anybody", "/409/", "Someone saved it first", 409, template="409.html"),
    Page("error-429", "anybody", "/429/", "Too many attempts", 429, template="429.html"),
    Page("error-500", "anybody", "/500/", "An error of the portal's own", 500, template="500.html"),
    Page("error-503", "anybody", "/503/", "The database is unreachable", 503, template="503.html"),

    Page("customer-dashboard", "customer", "/dashboard/customer/", "Accounts, products, tiers, charts, trades"),
    Page("customer-no-trade", "customer", "/dashboard/customer/?since=2000-01-01&until=2000-01-02", "No trade matches"),
    Page("customer-error", "customer", "/dashboard/customer/?since=2020-01-02&until=2020-01-01", "A search in error"),
    Page("customer-accounts", "customer", "/finance/accounts/", "One's own accounts"),
    Page("customer-account", "customer", "/finance/accounts/{own_account}/", "One of them"),
    Page("customer-transactions", "customer", "/finance/transactions/", "One's own transactions"),
    Page("customer-transaction", "customer", "/finance/transactions/{own_transaction}/", "The trades of a bucket"),
    Page("customer-record", "customer", "/finance/customers/{own_customer}/", "One's own record"),
    Page("profile", "customer", "/profile/", "Name, address, picture"),
    Page("email", "customer", "/email/", "Addresses for mail"),
    Page("password-change", "customer", "/password/change/", "Another password"),
    Page("two-factor", "customer", "/two-factor/", "The second factor"),
    Page("two-factor-activate", "customer", "/two-factor/totp/activate/", "An authenticator app is set up"),
    Page("reauthenticate", "customer", "/reauthenticate/", "The password, once more"),
    Page("logout", "customer", "/logout/", "Sign out"),
    Page("error-403", "customer", "/sync/", "What a role may not see", 403),
    Page("customer-refused", "customer", "/finance/customers/{own_customer}/trades.csv?since=x", "No export", 400),

    Page("newcomer-dashboard", "newcomer", "/dashboard/customer/", "No record is linked yet"),
    Page("newcomer-accounts", "newcomer", "/finance/accounts/", "No account yet"),
    Page("newcomer-profile", "newcomer", "/profile/", "A request that waits"),

    Page("console", "technician", "/sync/", "The state of the mirror, and what is in trouble"),
    Page("changes", "technician", "/sync/changes/", "Failed changes"),
    Page("changes-none", "technician", "/sync/changes/?model=finance.customer", "None matches"),
    Page("changes-retry", "technician", "/sync/changes/", "Retried: sure?", press="[form=order-all][value=retry]"),
    Page("changes-discard", "technician", "/sync/changes/", "Given up: sure?", press="[form=order-all][value=discard]"),
    Page("act-pause", "technician", "/sync/targets/finance.account/pause/", "Delivery is paused: sure?"),
    Page("act-repair", "technician", "/sync/targets/finance.account/repair/", "What differs is repaired: sure?"),
    Page("act-backfill", "technician", "/sync/targets/finance.account/backfill/", "All is delivered again: sure?"),
    Page("record-differs", "technician", "/sync/record/finance.account/{poison}/", "A row that MongoDB refuses"),
    Page("record-equal", "technician", "/sync/record/finance.customer/{customer}/", "A record that is equal in both"),
    Page("accounts", "technician", "/finance/accounts/", "All accounts"),
    Page("accounts-none", "technician", "/finance/accounts/?number=999999999", "None matches"),
    Page("accounts-error", "technician", "/finance/accounts/?number=x", "A search in error"),
    Page("account", "technician", "/finance/accounts/{account}/", "An account"),
    Page("account-add", "technician", "/finance/accounts/add/", "A new one"),
    Page("account-add-error", "technician", "/finance/accounts/add/", "A form in error", press="main .btn-primary"),
    Page("account-edit", "technician", "/finance/accounts/{account}/edit/", "It is edited"),
    Page("account-delete", "technician", "/finance/accounts/{account}/delete/", "It is deleted: sure?"),
    Page("customers", "technician", "/finance/customers/", "All customers"),
    Page("customer", "technician", "/finance/customers/{customer}/", "A customer"),
    Page("customer-add", "technician", "/finance/customers/add/", "A new one"),
    Page("customer-edit", "technician", "/finance/customers/{customer}/edit/", "They are edited"),
    Page("customer-delete", "technician", "/finance/customers/{customer}/delete/", "They are deleted: sure?"),
    Page("transactions", "technician", "/finance/transactions/", "All transactions"),
    Page("transaction", "technician", "/finance/transactions/{transaction}/", "A bucket of trades"),
    Page("transaction-add", "technician", "/finance/transactions/add/", "A new one"),
    Page("transaction-edit", "technician", "/finance/transactions/{transaction}/edit/", "It is edited"),
    Page("transaction-delete", "technician", "/finance/transactions/{transaction}/delete/", "It is deleted: sure?"),

    Page("totals", "manager", "/dashboard/management/", "Totals by month, symbol, customer, product and tier"),
    Page("totals-error", "manager", "/dashboard/management/?first=x", "A range in error"),
    Page("audit", "manager", "/audit/", "Who did what"),
    Page("audit-none", "manager", "/audit/?who=nobody", "No entry matches"),
    Page("export-refused", "manager", "/finance/accounts/export.csv?number=x", "An export that is refused", 400),

    Page("no-role", "staff", "/dashboard/", "A user without a role"),
    Page("two-factor-on", "staff", "/two-factor/", "The second factor, set up"),
    Page("recovery-codes", "staff", "/two-factor/recovery-codes/", "Codes for when the phone is lost"),
    Page("recovery-codes-new", "staff", "/two-factor/recovery-codes/generate/", "New ones"),
    Page("two-factor-off", "staff", "/two-factor/totp/deactivate/", "The second factor is given up: sure?"),
    Page("admin", "staff", "/admin/", "The admin"),
    Page("admin-users", "staff", "/admin/accounts/user/", "People"),
    Page("admin-requests", "staff", "/admin/accounts/user/?request=pending", "Requests for a role"),
    Page("admin-user", "staff", "/admin/accounts/user/{newcomer}/change/", "Somebody's account"),
]
# fmt: on

# What has no page of its own: files, machines, what only takes orders, and what sends elsewhere at once.
NO_PAGES = {
    "healthz", "readyz", "metrics", "picture", "sync:live", "sync:order", "sync:route_act", "sync:stop", "audit:export",
    "finance:totals_chart", "finance:customer_trades", "finance:customer_chart", "account_set_password",
}  # fmt: skip
# As others of their kind, or in the middle of signing in.
LIKE_OTHERS = {
    *(kind.pages["export"] for kind in RECORD_TYPES), "mfa_authenticate", "mfa_reauthenticate",
    "mfa_download_recovery_codes",
}  # fmt: skip


def names(patterns: Any = None, space: str = "") -> Iterator[str]:
    """The names of all addresses, but for the admin's and the examples'."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin" and not str(pattern.pattern).startswith("examples/"):
                yield from names(pattern.url_patterns, f"{pattern.namespace}:" if pattern.namespace else space)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield f"{space}{pattern.name}"


def furnish(customers: int = 3, trades: int = 60) -> dict[str, str]:
    """People with PASSWORD, made-up records, one that MongoDB refuses; what the braces in PAGES stand for."""
    call_command("load_demo", customers=customers, trades=trades, force=True, verbosity=0, stdout=_Nowhere())
    people = {who: _person(*fields) for who, fields in PEOPLE.items()}
    own = Customer.objects.filter(user__is_demo=True)[0]
    own.user = people["customer"]
    own.save()
    Relay().drain()  # whatever a busy machine did not deliver in the time that a save has for it
    poison = Account.objects.exclude(account_id__in=own.accounts).order_by("account_id")[0]
    before = poison.limit
    database().command("collMod", "accounts", validator={"limit": {"$gte": 0}})
    try:
        Account.objects.filter(pk=poison.pk).update(limit=-5)
    finally:
        database().command("collMod", "accounts", validator={})
    refused = Change.objects.filter(key=poison.pk).order_by("-pk")[:1].values_list("pk", flat=True)
    Change.objects.filter(pk__in=list(refused)).update(
        failed=True, attempts=5, claim="", error="MongoDB: Document failed validation"
    )
    with suppress(SystemExit, CommandError):  # which it ends with when it finds a difference
        call_command("sync", "verify", stdout=_Nowhere(), stderr=_Nowhere())
    call_command("refresh_totals", stdout=_Nowhere())
    _log(people, poison, before)
    TOTP.activate(people["staff"], SECRET)
    RecoveryCodes.activate(people["staff"])
    forgetful = _person("paula", "Paula", "Patient", {"role": "customer"})  # A login would end what mails to her open.
    unconfirmed = EmailAddress.objects.create(user=forgetful, email="paula@example.net")
    AddedAddress.objects.create(user=forgetful, email=unconfirmed.email, added_at=timezone.now())
    newest = Transaction.objects.order_by("-bucket_end_date", "-pk")
    return {
        "account": Account.objects.exclude(pk=poison.pk).order_by("account_id")[0].pk,
        "customer": Customer.objects.order_by("name", "pk")[0].pk,
        "transaction": newest[0].pk,
        "own_account": Account.objects.filter(account_id__in=own.accounts).order_by("account_id")[0].pk,
        "own_customer": own.pk,
        "own_transaction": newest.filter(account_id__in=own.accounts)[0].pk,
        "poison": poison.pk,
        "newcomer": str(people["newcomer"].pk),
        "confirm": EmailConfirmationHMAC(unconfirmed).key,
        "undo": signing.dumps(
            [forgetful.pk, forgetful.email, (timezone.now() - timedelta(hours=1)).isoformat()], salt=addresses.SALT
        ),
        "reset": f"{user_pk_to_url_str(forgetful)}-{default_token_generator.make_token(forgetful)}",
    }


def session(who: str) -> str:
    """The cookie of somebody of PEOPLE who has just signed in."""
    client = Client()
    client.post("/login/", {"login": PEOPLE[who][0], "password": PASSWORD})
    if who == "staff":
        client.post("/two-factor/authenticate/", {"code": code_of(SECRET)})
    assert "_auth_user_id" in client.session, who
    return client.cookies["sessionid"].value


def visit(browser_page: Any, address: str, page: Page, keys: dict[str, str]) -> int:
    """Opens a page and does what it asks for; its status."""
    url = address + page.path.format(**keys)
    if page.template:
        body = render_to_string(page.template)
        browser_page.route(url, lambda route: route.fulfill(status=page.status, body=body, content_type="text/html"))
    response = browser_page.goto(url)
    if page.press:
        with browser_page.expect_navigation():
            browser_page.evaluate("document.querySelectorAll('form').forEach((form) => { form.noValidate = true; })")
            browser_page.locator(page.press).first.click()
    return response.status


class _Nowhere:
    """Where output goes that nobody reads."""

    write: Callable[..., None] = staticmethod(lambda *_: None)
    flush = write
    isatty = staticmethod(lambda: False)


def _person(username: str, first_name: str, last_name: str, fields: dict[str, Any]) -> User:
    user = User.objects.create_user(
        username, f"{username}@example.com", PASSWORD, first_name=first_name, last_name=last_name, **fields
    )
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def _log(people: dict[str, User], poison: Account, before: int | None) -> None:
    for who, act, model, key, text, old, new in (
        ("staff", Act.APPROVE, "accounts.user", str(people["technician"].pk), "theo", {"role": "customer"},
         {"role": "technical_worker"}),
        ("technician", "pause", "sync.target", "finance.customer", "finance.customer", {"paused": False},
         {"paused": True}),
        ("technician", "resume", "sync.target", "finance.customer", "finance.customer", {"paused": True},
         {"paused": False}),
        ("technician", Act.CHANGE, "finance.account", poison.pk, str(poison), {"limit": before}, {"limit": -5}),
    ):  # fmt: skip
        Entry.objects.create(
            who=people[who].username, who_id=str(people[who].pk), act=act, model=model, key=key, text=text, before=old,
            after=new, address="127.0.0.1",
        )  # fmt: skip
