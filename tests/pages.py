"""Every page of the portal, once, for the screenshots and for the tests of accessibility, weight and outages.

A missing page fails tests/test_pages_in_browser.py. `furnish` creates the users and records in the addresses.
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
from allauth.mfa.webauthn.internal.auth import WebAuthn
from django.core import signing
from django.core.management import CommandError, call_command
from django.template.loader import render_to_string
from django.test import Client
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver
from django.utils import timezone

from accounts import addresses
from accounts.models import AddedAddress, User
from accounts.tests.software_passkey import SoftwarePasskey
from accounts.tests.support import code_of
from audit.models import Act, Entry
from finance.models import Account, Customer, Transaction
from finance.record_types import RECORD_TYPES
from sync.mongodb.client import database
from sync.monitoring.models import Incident, Notification
from sync.outbox.models import Change
from sync.outbox.relay import Relay

PASSWORD = "correct-horse-7"
SECRET = "JBSWY3DPEHPK3PXP"  # of the staff user's authenticator app
PEOPLE = {
    "customer": ("carla", "Carla", "Customer", {"role": "customer"}),
    "newcomer": ("nora", "Nora", "Newcomer", {"role": "customer", "requested_role": "technical_worker"}),
    "technician": ("theo", "Theo", "Technician", {"role": "technical_worker"}),
    "manager": ("mina", "Mina", "Manager", {"role": "senior_management"}),
    "staff": ("stella", "Stella", "Staff", {"is_staff": True, "is_superuser": True}),
}


class Page(NamedTuple):
    name: str  # also names the screenshot
    who: str  # a key of PEOPLE, or "anybody", who is not signed in
    path: str  # with keys of furnish() in braces
    shows: str  # the description in the index of screenshots
    status: int = 200
    press: str = ""  # a selector to click first
    template: str = ""  # for a page that no address opens directly


# fmt: off
PAGES = [
    Page("landing", "anybody", "/", "Start page"),
    Page("login", "anybody", "/login/", "Sign in"),
    Page("login-refused", "anybody", "/login/", "Sign in, refused", press="main [type=submit]"),
    Page("register", "anybody", "/register/", "Create an account"),
    Page("email-sent", "anybody", "/email/confirm/", "Confirmation email sent"),
    Page("email-confirm", "anybody", "/email/confirm/{confirm}/", "Confirm an email address"),
    Page("email-expired", "anybody", "/email/confirm/gone/", "Expired confirmation link"),
    Page("email-undo", "anybody", "/email/undo/{undo}/", "Remove an added address"),
    Page("email-undo-expired", "anybody", "/email/undo/gone/", "Nothing left to undo", 410),
    Page("password-reset", "anybody", "/password/reset/", "Request a new password"),
    Page("password-reset-done", "anybody", "/password/reset/done/", "Password reset email sent"),
    Page("password-reset-expired", "anybody", "/password/reset/key/1-gone/", "Used or expired reset link"),
    Page("password-new", "anybody", "/password/reset/key/{reset}/", "Set a new password"),
    Page("password-new-done", "anybody", "/password/reset/key/done/", "New password set"),
    Page("inactive", "anybody", "/inactive/", "Inactive account"),
    Page("help", "anybody", "/help/", "Help: roles and terms"),
    Page("error-400", "anybody", "/400/", "Bad request", 400, template="400.html"),
    Page("error-csrf", "anybody", "/csrf/", "Expired form", 403, template="403_csrf.html"),
    Page("error-404", "anybody", "/nowhere/", "Page not found", 404),
    Page("error-409", "anybody", "/409/", "Conflict: saved by another user first", 409, template="409.html"),
    Page("error-429", "anybody", "/429/", "Too many attempts", 429, template="429.html"),
    Page("error-500", "anybody", "/500/", "Server error", 500, template="500.html"),
    Page("error-503", "anybody", "/503/", "Database unreachable", 503, template="503.html"),

    Page("customer-dashboard", "customer", "/dashboard/customer/", "Dashboard: accounts, tiers, charts, trades"),
    Page("customer-trades", "customer", "/finance/trades/", "Own trades"),
    Page("customer-no-trade", "customer", "/finance/trades/?since=2000-01-01&until=2000-01-02", "No trade matches"),
    Page("customer-error", "customer", "/finance/trades/?since=2020-01-02&until=2020-01-01", "Invalid search"),
    Page("customer-accounts", "customer", "/finance/accounts/", "Own accounts"),
    Page("customer-account", "customer", "/finance/accounts/{own_account}/", "Own account"),
    Page("customer-record", "customer", "/finance/customers/{own_customer}/", "Own customer record"),
    Page("profile", "customer", "/profile/", "Profile: name, address, picture"),
    Page("email", "customer", "/email/", "Email addresses"),
    Page("password-change", "customer", "/password/change/", "Change the password"),
    Page("two-factor", "customer", "/two-factor/", "Second factor"),
    Page("two-factor-activate", "customer", "/two-factor/totp/activate/", "Set up an authenticator app"),
    Page("sessions", "customer", "/sessions/", "Sessions: where the user is signed in"),
    Page("sessions-end", "customer", "/sessions/others/end/", "Confirm signing out all other sessions"),
    Page("my-data", "customer", "/my-data/", "Your data: download all of it, delete the account"),
    Page("delete-account", "customer", "/my-data/delete/", "Delete the account"),
    Page("passkeys-none", "customer", "/two-factor/passkeys/", "Passkeys, none yet"),
    Page("passkey-add", "customer", "/two-factor/passkeys/add/", "Add a passkey"),
    Page("reauthenticate", "customer", "/reauthenticate/", "Confirm the password"),
    Page("logout", "customer", "/logout/", "Sign out"),
    Page("error-403", "customer", "/sync/", "Permission denied", 403),
    Page("customer-refused", "customer", "/finance/customers/{own_customer}/trades.csv?since=x", "Refused export", 400),

    Page("newcomer-dashboard", "newcomer", "/dashboard/customer/", "Dashboard without a linked record"),
    Page("newcomer-accounts", "newcomer", "/finance/accounts/", "Accounts, none linked"),
    Page("preferences", "customer", "/preferences/", "Preferences: language, time zone, numbers"),
    Page("newcomer-profile", "newcomer", "/profile/", "Profile with a pending role request"),

    Page("console", "technician", "/sync/", "Console: state of the mirror and failed changes"),
    Page("alerts", "technician", "/sync/alerts/", "Alerts: incidents and what was sent"),
    Page("changes", "technician", "/sync/changes/", "Failed changes"),
    Page("changes-none", "technician", "/sync/changes/?model=finance.customer", "Failed changes, none matching"),
    Page("changes-retry", "technician", "/sync/changes/", "Confirm retry", press="[form=order-all][value=retry]"),
    Page("changes-discard", "technician", "/sync/changes/", "Confirm discard", press="[form=order-all][value=discard]"),
    Page("act-pause", "technician", "/sync/targets/finance.account/pause/", "Confirm pause"),
    Page("act-repair", "technician", "/sync/targets/finance.account/repair/", "Confirm repair"),
    Page("act-backfill", "technician", "/sync/targets/finance.account/backfill/", "Confirm backfill"),
    Page("record-differs", "technician", "/sync/record/finance.account/{poison}/", "Record that MongoDB rejects"),
    Page("record-equal", "technician", "/sync/record/finance.customer/{customer}/", "Mirrored record"),
    Page("accounts", "technician", "/finance/accounts/", "All accounts"),
    Page("accounts-none", "technician", "/finance/accounts/?number=999999999", "Accounts, none matching"),
    Page("accounts-error", "technician", "/finance/accounts/?number=x", "Invalid search"),
    Page("account", "technician", "/finance/accounts/{account}/", "Account"),
    Page("account-add", "technician", "/finance/accounts/add/", "Add an account"),
    Page("account-add-error", "technician", "/finance/accounts/add/", "A form with errors", press="main .btn-primary"),
    Page("account-edit", "technician", "/finance/accounts/{account}/edit/", "Edit an account"),
    Page("account-delete", "technician", "/finance/accounts/{account}/delete/", "Delete an account"),
    Page("customers", "technician", "/finance/customers/", "All customers"),
    Page("customer", "technician", "/finance/customers/{customer}/", "Customer"),
    Page("customer-add", "technician", "/finance/customers/add/", "Add a customer"),
    Page("customer-edit", "technician", "/finance/customers/{customer}/edit/", "Edit a customer"),
    Page("customer-delete", "technician", "/finance/customers/{customer}/delete/", "Delete a customer"),
    Page("transactions", "technician", "/finance/transactions/", "All transactions"),
    Page("transaction", "technician", "/finance/transactions/{transaction}/", "Bucket of trades"),
    Page("transaction-add", "technician", "/finance/transactions/add/", "Add a bucket of trades"),
    Page("transaction-edit", "technician", "/finance/transactions/{transaction}/edit/", "Edit a bucket"),
    Page("transaction-delete", "technician", "/finance/transactions/{transaction}/delete/", "Delete a bucket"),

    Page("totals", "manager", "/dashboard/management/", "Totals by month, symbol, customer, product and tier"),
    Page("totals-error", "manager", "/dashboard/management/?first=x", "Totals with an invalid range"),
    Page("totals-narrowed", "manager", "/dashboard/management/?tier=Gold&symbol=adbe", "Totals of some of the trades"),
    Page("totals-trades", "manager", "/dashboard/management/trades/?side=buy", "Trades behind a total"),
    Page("totals-trades-none", "manager", "/dashboard/management/trades/?symbol=-", "Trades behind a total, none"),
    Page("audit", "manager", "/audit/", "Audit log"),
    Page("audit-none", "manager", "/audit/?who=nobody", "Audit log, none matching"),
    Page("export-refused", "manager", "/finance/accounts/export.csv?number=x", "Refused export", 400),

    Page("no-role", "staff", "/dashboard/", "User without a role"),
    Page("people", "staff", "/people/", "People who wait for staff"),
    Page("people-none", "staff", "/people/?q=nobody", "People, none matching"),
    Page("person", "staff", "/people/{newcomer}/", "A person who waits: request and record"),
    Page("person-search", "staff", "/people/{newcomer}/?q={name}", "Records that could be linked"),
    Page("person-linked", "staff", "/people/{linked}/", "A person with a record"),
    Page("two-factor-on", "staff", "/two-factor/", "Second factor, set up"),
    Page("passkeys", "staff", "/two-factor/passkeys/", "Passkeys"),
    Page("passkey-rename", "staff", "/two-factor/passkeys/{passkey}/rename/", "Rename a passkey"),
    Page("passkey-remove", "staff", "/two-factor/passkeys/{passkey}/remove/", "Remove a passkey"),
    Page("recovery-codes", "staff", "/two-factor/recovery-codes/", "Recovery codes"),
    Page("recovery-codes-new", "staff", "/two-factor/recovery-codes/generate/", "Generate new recovery codes"),
    Page("two-factor-off", "staff", "/two-factor/totp/deactivate/", "Turn off the second factor"),
    Page("admin", "staff", "/admin/", "Admin"),
    Page("admin-users", "staff", "/admin/accounts/user/", "Users"),
    Page("admin-requests", "staff", "/admin/accounts/user/?request=pending", "Pending role requests"),
    Page("admin-user", "staff", "/admin/accounts/user/{newcomer}/change/", "User"),
]
# fmt: on

# Addresses without a page of their own: files, endpoints for machines, POST-only addresses, and redirects.
NO_PAGES = {
    "healthz", "readyz", "metrics", "picture", "sync:live", "sync:order", "sync:test_alert",
    "sync:route_act", "sync:stop", "audit:export",
    "finance:totals_chart", "finance:totals_trades_export", "finance:save_view", "finance:remove_view",
    "finance:customer_trades", "finance:customer_chart", "account_set_password",
    "language", "my_data_download", "mfa_login_webauthn",
}  # fmt: skip
# Pages that look like others of their kind, or appear only while signing in.
LIKE_OTHERS = {
    *(kind.pages["export"] for kind in RECORD_TYPES), "mfa_authenticate", "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "mfa_download_recovery_codes",
}  # fmt: skip


def names(patterns: Any = None, space: str = "") -> Iterator[str]:
    """The names of all addresses except the admin's and the examples'."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin" and not str(pattern.pattern).startswith("examples/"):
                yield from names(pattern.url_patterns, f"{pattern.namespace}:" if pattern.namespace else space)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield f"{space}{pattern.name}"


def furnish(customers: int = 3, trades: int = 60) -> dict[str, str]:
    """Creates users and demo records, one of which MongoDB rejects; the values for the braces in PAGES."""
    call_command("load_demo", customers=customers, trades=trades, force=True, verbosity=0, stdout=_Nowhere())
    people = {who: _person(*fields) for who, fields in PEOPLE.items()}
    own = Customer.objects.filter(user__is_demo=True)[0]
    own.user = people["customer"]
    own.save()
    Relay().drain()  # delivers what inline delivery did not manage in time on a busy machine
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
    with suppress(SystemExit, CommandError):  # verify exits this way when it finds a mismatch
        call_command("sync", "verify", stdout=_Nowhere(), stderr=_Nowhere())
    call_command("refresh_totals", stdout=_Nowhere())
    _log(people, poison, before)
    _alert()
    TOTP.activate(people["staff"], SECRET)
    RecoveryCodes.activate(people["staff"])
    passkey = WebAuthn.add(people["staff"], "Laptop", SoftwarePasskey().registration("challenge-of-nobody-")).instance
    # She never signs in, because a login would invalidate her emailed links.
    forgetful = _person("paula", "Paula", "Patient", {"role": "customer"})
    unconfirmed = EmailAddress.objects.create(user=forgetful, email="paula@example.net")
    AddedAddress.objects.create(user=forgetful, email=unconfirmed.email, added_at=timezone.now())
    newest = Transaction.objects.order_by("-bucket_end_date", "-pk")
    return {
        "account": Account.objects.exclude(pk=poison.pk).order_by("account_id")[0].pk,
        "customer": Customer.objects.order_by("name", "pk")[0].pk,
        "transaction": newest[0].pk,
        "own_account": Account.objects.filter(account_id__in=own.accounts).order_by("account_id")[0].pk,
        "own_customer": own.pk,
        "poison": poison.pk,
        "passkey": passkey.pk,
        "newcomer": str(people["newcomer"].pk),
        "linked": str(people["customer"].pk),
        "name": Customer.objects.order_by("name", "pk")[0].name.split()[0],
        "confirm": EmailConfirmationHMAC(unconfirmed).key,
        "undo": signing.dumps(
            [forgetful.pk, forgetful.email, (timezone.now() - timedelta(hours=1)).isoformat()], salt=addresses.SALT
        ),
        "reset": f"{user_pk_to_url_str(forgetful)}-{default_token_generator.make_token(forgetful)}",
    }


def _alert() -> None:
    """An incident that is over, and an open one."""
    now = timezone.now()
    begin, end = now - timedelta(hours=5), now - timedelta(hours=4)
    over = Incident.objects.create(
        state="unreachable", summary="MongoDB is unreachable. Changes wait in MySQL.", began_at=begin, opened_at=begin,
        closed_at=end, active=None,
    )  # fmt: skip
    for event, at in (("opened", begin), ("recovered", end)):
        Notification.objects.create(incident=over, event=event, channel="mail", due_at=at, sent_at=at, attempts=1)
    begin = now - timedelta(minutes=3)
    still = Incident.objects.create(
        state="failing", summary="Some changes failed. Fix the cause, then retry them.", began_at=begin, opened_at=begin
    )
    Notification.objects.create(
        incident=still, event="opened", channel="webhook", due_at=now, attempts=2, error="HTTP 503"
    )


def session(who: str, *, confirmed: bool = True) -> str:
    """Signs in a user of PEOPLE; the session cookie. confirmed: whether they are not asked for the password again."""
    client = Client()
    client.post("/login/", {"login": PEOPLE[who][0], "password": PASSWORD})
    if who == "staff":
        client.post("/two-factor/authenticate/", {"code": code_of(SECRET)})
    assert "_auth_user_id" in client.session, who
    if confirmed:
        client.post("/reauthenticate/", {"password": PASSWORD})
        stored = client.session
        for each in stored["account_authentication_methods"]:
            each["at"] += 86_400
        stored.save()
    return client.cookies["sessionid"].value


def visit(browser_page: Any, address: str, page: Page, keys: dict[str, str]) -> int:
    """Opens a page, and clicks `press` if it has one; the page's status."""
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
    """A stream that discards its output."""

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
