"""A process that requests the pages of one portal with Django's test client and times each response."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

COLD = "counts of rows and documents not cached"


@dataclass(frozen=True)
class Timing:
    """One response: its time in milliseconds and its number of SQL queries."""

    ms: float
    queries: int


def serve(commands: Connection) -> None:
    """Calls a method of Portal for each command received (name and arguments) until the connection closes."""
    import django

    django.setup()
    from django.conf import settings

    settings.ACCOUNT_RATE_LIMITS = False  # one user exports more here in a minute than the portal allows
    portal = Portal()
    commands.send("ready")
    while True:
        try:
            name, *arguments = commands.recv()
        except EOFError:
            return
        commands.send(getattr(portal, name)(*arguments))


class Portal:
    """The portal configured by this process's settings."""

    def __init__(self) -> None:
        from django.test import Client

        self.clients: dict[str, Any] = {"": Client()}
        self.addresses: dict[str, tuple[str, str]] = {}

    def sizes(self) -> dict[str, int]:
        """The number of rows by model, and the number of trades."""
        from django.db.models import Sum

        from accounts.models import User
        from audit.models import Entry
        from finance.models import Account, Customer, Transaction

        counts = {model._meta.model_name: model.objects.count() for model in (Customer, Account, Transaction)}
        counts["trades"] = Transaction.objects.aggregate(n=Sum("transaction_count"))["n"]
        return {str(name): n for name, n in counts.items()} | {
            "user": User.objects.count(), "entry": Entry.objects.count()
        }  # fmt: skip

    def verified(self, sample: int) -> dict[str, str]:
        """The result of verifying a sample of each model."""
        from sync.mapping.registry import all_targets
        from sync.verification.verify import verify

        runs = {target.label: verify(target, sample=sample) for target in all_targets()}
        return {label: f"{run.compared} compared, {run.found} found" for label, run in runs.items()}

    def refresh(self) -> tuple[float, float, str]:
        """Calls the module's refresh(), so that another process can request it."""
        return refresh()

    def sessions(self, role: str, count: int) -> list[str]:
        """Session cookies for `count` users with this role."""
        from django.conf import settings
        from django.test import Client

        made = []
        for number in range(count):
            client = Client()
            client.force_login(_user(f"{role}{number}"))
            made.append(f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}")
        return made

    def pages(self) -> list[str]:
        """Logs the users in and returns the names of all pages, for `fetch`."""
        from django.test import Client

        from finance import aggregations

        aggregations.ensure_indexes()  # as the computation of the totals does, which is not repeated for a copy
        for name in ("customer0", "technical_worker0", "senior_management0", "boss"):
            self.clients[name] = Client()
            self.clients[name].force_login(_user(name))
        self.addresses = {
            **_of_customers(), **_of_managers(), **_lists(), **_records(), **_console(), **_audit(), **_admin(),
        }  # fmt: skip
        return list(self.addresses)

    def fetch(self, name: str) -> Timing:
        """Requests one page."""
        from django.core.cache import cache
        from django.db import connection

        from sync.web.console import COUNTS

        who, address = self.addresses[name]
        if COLD in name:
            cache.delete(COUNTS)
        queries = 0

        def count(execute: Any, *arguments: Any) -> Any:
            nonlocal queries
            queries += 1
            return execute(*arguments)

        with connection.execute_wrapper(count):
            began = time.perf_counter()
            response = self.clients[who].get(address)
            response.getvalue()
            ms = (time.perf_counter() - began) * 1000
        if response.status_code != 200:
            raise RuntimeError(f"{name}: {address} returned {response.status_code}")
        return Timing(ms, queries)


def refresh() -> tuple[float, float, str]:
    """Computes the totals and the top customers. Returns the seconds for each, and the error message if one failed.

    Afterwards the results count as fresh for a day, so that measuring the pages triggers no computation.
    """
    from pymongo.errors import PyMongoError

    from finance import report_cache
    from finance.models import CachedReport
    from finance.periods import YEAR
    from finance.report import months_of
    from finance.views.management import lately
    from sync.core.clock import DatabaseNow

    times, problem = [], ""
    try:
        times.append(_seconds(lambda: report_cache.refresh(force=True)))
        data = CachedReport.objects.get(key=report_cache.TOTALS).data
        known = months_of(data) if data else None
        if known:
            period = lately(known, YEAR)
            times.append(_seconds(lambda: report_cache.refresh(f"top {period.first}..{period.last}", force=True)))
    except PyMongoError as error:
        problem = str(error)[:200]
    CachedReport.objects.update(due_at=DatabaseNow() + timedelta(days=1), claim="")
    totals, top = [*times, 0.0, 0.0][:2]
    return totals, top, problem


def _seconds(call: Any) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _user(name: str) -> Any:
    from accounts.models import User

    return User.objects.get(username=name)


def _of_customers() -> dict[str, tuple[str, str]]:
    from django.urls import reverse

    customer = _user("customer0").customer
    csv = {
        f"customer's {chart}.csv": ("customer0", reverse("finance:customer_chart", args=[customer.pk, chart]))
        for chart in ("value", "holdings")
    }
    return {
        "landing": ("", reverse("landing")),
        "login": ("", reverse("account_login")),
        "profile": ("customer0", reverse("profile")),
        "sessions": ("customer0", reverse("sessions")),
        "customer's dashboard": ("customer0", reverse("finance:customer_dashboard")),
        "customer's trades": ("customer0", reverse("finance:own_trades")),
        "customer's trades, page 5": ("customer0", reverse("finance:own_trades") + "?page=5"),
        **csv,
        "customer's trades.csv": ("customer0", reverse("finance:customer_trades", args=[customer.pk])),
        "customer's own accounts": ("customer0", reverse("finance:account_list")),
    }


def _of_managers() -> dict[str, tuple[str, str]]:
    from django.urls import reverse

    from finance.models import Customer

    customer = Customer.objects.filter(user=None).order_by("pk").first()
    trades = reverse("finance:totals_trades")
    return {
        "management dashboard": ("senior_management0", reverse("finance:totals_dashboard")),
        "management's symbols.csv": ("senior_management0", reverse("finance:totals_chart", args=["symbols"])),
        "trades behind a customer's total": ("senior_management0", f"{trades}?customer={customer.pk}"),
        "trades behind a month's total": ("senior_management0", f"{trades}?first=2016-01&last=2016-01"),
    }


def _lists() -> dict[str, tuple[str, str]]:
    """Each list at its start and in its middle, with searches and sort orders."""
    from django.urls import reverse

    from finance.models import Account, Customer, Transaction
    from finance.paging import _cursor
    from finance.record_types import RECORD_TYPES

    account, bucket = Account.objects.order_by("pk").first(), Transaction.objects.order_by("pk").first()
    customer = Customer.objects.filter(user=None).order_by("pk").first()
    first, last = customer.name.split()[0], customer.name.split()[-1]
    kinds = {kind.model: kind for kind in RECORD_TYPES}
    searches_by_model: dict[Any, dict[str, str]] = {
        Account: {
            "by number": f"number={account.account_id}", "by product": "product=Derivatives",
            "by product and a rare limit": "product=Derivatives&limit_to=3000", "limit from": "limit_from=9000",
            "of no such limit": "limit_from=3001&limit_to=4999", "limit": "sort=limit", "-limit": "sort=-limit",
        },
        Customer: {
            "by name": f"q={first}+{last}", "by last name": f"q={last}", "by username": f"q={customer.username}",
            "by email": f"q={customer.email}", "by a letter": "q=a", "of no such name": "q=zzzz",
            "by two words, one of no name": f"q={first}+zzzz", "of -username": "sort=-username",
            "by last name, sorted by email": f"q={last}&sort=email", "email": "sort=email",
        },
        Transaction: {
            "by number": f"number={bucket.account_id}", "since a day": "since=2024-01-01",
            "until a day": "until=2010-06-30", "of a month": "since=2012-01-01&until=2012-01-31",
            "of no such day": "since=2099-01-01", "account_id": "sort=account_id", "-account_id": "sort=-account_id",
        },
    }  # fmt: skip
    found = {}
    for model, searches in searches_by_model.items():
        name = f"{model._meta.verbose_name_plural}"
        address = reverse(f"finance:{model._meta.model_name}_list")
        found[name] = ("technical_worker0", address)
        for search, query in {"": "", **searches}.items():
            words = f"{name} {'sorted by ' if 'sort' in query and 'sorted' not in search else ''}{search}".strip()
            if search:
                found[words] = ("technical_worker0", f"{address}?{query}")
            if not search or (query.startswith("sort") and "q=" not in query):
                order = kinds[model].order(query.removeprefix("sort="))
                rows = order.apply(model.objects.all()).values_list(*order.fields)
                middle = _cursor(model, order, rows[rows.count() // 2])
                found[f"{words}, middle"] = ("technical_worker0", f"{address}?after={middle}&{query}")
    export = reverse("finance:transaction_export")
    found["transactions by number, CSV"] = ("technical_worker0", f"{export}?number={bucket.account_id}")
    return found


def _records() -> dict[str, tuple[str, str]]:
    from django.urls import reverse

    from finance.models import Account, Customer, Transaction

    found = {}
    # The first row by these columns is the same one in every size: a copy has larger numbers and longer names.
    for model, column in ((Account, "account_id"), (Customer, "username"), (Transaction, "account_id")):
        name = str(model._meta.model_name)
        row = model.objects.order_by(column).first()
        found[name] = ("technical_worker0", row.get_absolute_url())
        for act in ("edit", "delete"):
            found[f"{act} {name}"] = ("technical_worker0", reverse(f"finance:{name}_{act}", args=[row.pk]))
        found[f"add {name}"] = ("technical_worker0", reverse(f"finance:{name}_create"))
        found[f"{name} beside its document"] = (
            "technical_worker0", reverse("sync:record", args=[f"finance.{name}", row.pk])
        )  # fmt: skip
    return found


def _console() -> dict[str, tuple[str, str]]:
    from django.urls import reverse

    return {
        "console": ("technical_worker0", reverse("sync:console")),
        "console, 7 days": ("technical_worker0", reverse("sync:console") + "?range=7d"),
        "alerts": ("technical_worker0", reverse("sync:alerts")),
        f"console, {COLD}": ("technical_worker0", reverse("sync:console")),
        "changes": ("technical_worker0", reverse("sync:changes")),
        "metrics": ("technical_worker0", reverse("metrics")),
        "readyz": ("", reverse("readyz")),
    }


def _audit() -> dict[str, tuple[str, str]]:
    from django.urls import reverse

    from audit.models import Entry

    address = reverse("audit:entries")
    keys = Entry.objects.order_by("pk").values_list("pk", "key")
    middle, key = keys[keys.count() // 2]
    queries = {
        "": "", ", middle": f"?below={middle}", " by who": "?who=technical_worker7", " by act": "?act=delete",
        " by object": f"?model=finance.customer&key={key}", " since a day": "?since=2025-01-10",
        " of an unknown user": "?who=unknown", " until the first day": "?until=2025-01-01",
    }  # fmt: skip
    return {f"audit log{name}": ("senior_management0", address + query) for name, query in queries.items()}


def _admin() -> dict[str, tuple[str, str]]:
    from django.urls import reverse

    from finance.models import Account, Customer, Transaction

    found = {}
    searches = {
        "account": str(Account.objects.order_by("pk").first().account_id),
        "customer": Customer.objects.order_by("pk").first().username,
        "transaction": str(Transaction.objects.order_by("pk").first().account_id),
    }
    for name, search in searches.items():
        address = reverse(f"admin:finance_{name}_changelist")
        found[f"admin: {name}s"] = ("boss", address)
        found[f"admin: {name}s, page 3"] = ("boss", f"{address}?p=3")
        found[f"admin: {name}s searched"] = ("boss", f"{address}?q={search}")
    people = reverse("people")
    found |= {"people": ("boss", people), "people searched": ("boss", f"{people}?q=user7")}
    users = reverse("admin:accounts_user_changelist")
    return found | {"admin: users": ("boss", users), "admin: users searched": ("boss", f"{users}?q=user7")}
